"""Pictures of a third of the resolution, which take less time to draw and to compress."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest

DRAWING = (
    "manyview.evaluation.compare.figure",
    "manyview.evaluation.probe.figure",
    "manyview.recipes.reproduce.figure",
    "manyview.report.common_objects.tables_and_curve",
    "manyview.report.sheet",
)


@pytest.fixture(scope="package", autouse=True)
def coarse_pictures() -> Iterator[None]:
    """For every test of a package whose conftest.py imports this: what a picture shows is for tests without."""
    with pytest.MonkeyPatch.context() as patch:
        for name in DRAWING:
            patch.setattr(import_module(name), "_DPI", 50)
        yield
