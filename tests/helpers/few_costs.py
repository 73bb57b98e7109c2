"""Logistic regressions that try three values of C, where the choice among them is not what a test is about."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from manyview.evaluation.logistic import choice


@pytest.fixture(scope="module")
def few_costs() -> Iterator[None]:
    """A quarter of the usual fits."""
    with fewer_costs():
        yield


@contextlib.contextmanager
def fewer_costs() -> Iterator[None]:
    """Two decades and a third, none beyond."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("LOWEST", -2), ("HIGHEST", -1), ("FAR_LOWEST", -2), ("FAR_HIGHEST", -1), ("THIRDS", (1,))):
            patch.setattr(choice, name, value)
        yield
