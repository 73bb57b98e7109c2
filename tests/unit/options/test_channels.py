"""Means and standard deviations of channels as text and as numbers."""

from __future__ import annotations

from typing import Any

import pytest

from manyview.errors import UserError
from manyview.options.channels import read_channels


@pytest.mark.parametrize(
    ("given", "channels", "expected"),
    [
        ("0.5", 3, (0.5, 0.5, 0.5)),
        (0.25, 8, (0.25,) * 8),
        ("0.1, 0.2,.3", 3, (0.1, 0.2, 0.3)),
        ([0.1, 1.0], 2, (0.1, 1.0)),
        (1, 1, (1.0,)),
    ],
)
def test_one_number_is_of_all_channels(given: Any, channels: int, expected: tuple[float, ...]) -> None:
    assert read_channels(given, channels, "mean") == expected


@pytest.mark.parametrize("given", ["", "a", "0.5,0.5", "nan", "123.675,116.28,103.53", [], "1e9"])
@pytest.mark.parametrize("what", ["mean", "std"])
def test_what_is_no_normalization_is_one_sentence(what: str, given: Any) -> None:
    with pytest.raises(UserError, match=rf"^{what} "):
        read_channels(given, 3, what)


@pytest.mark.parametrize("given", ["0", "-1", "0.5,0,0.5"])
def test_a_deviation_is_above_0(given: str) -> None:
    with pytest.raises(UserError, match=r"^std must be above 0"):
        read_channels(given, 3, "std")
