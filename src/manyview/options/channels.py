"""Means and standard deviations of channels, as options give them."""

from __future__ import annotations

from collections.abc import Sequence

from manyview.errors import UserError

Numbers = str | float | int | Sequence[float]
"""Values of the channels: one for all of them, several, or text with commas."""


def read_channels(value: Numbers, channels: int, what: str) -> tuple[float, ...]:
    """Parse the values of the channels.

    Args:
        value: such as "0.5", "0.485,0.456,0.406", or numbers; one counts for all channels.
        channels: their number.
        what: "mean" or "std", which must be above 0.

    Returns:
        One value a channel, for pixels from 0 to 1.

    Raises:
        UserError: they are no numbers, as many as channels, as shares of white.
    """
    try:
        given = value.split(",") if isinstance(value, str) else [value] if isinstance(value, int | float) else value
        numbers = tuple(map(float, given))
    except (TypeError, ValueError):
        numbers = ()
    numbers = numbers * channels if len(numbers) == 1 else numbers
    if len(numbers) != channels or not all(-1e6 < number < 1e6 for number in numbers):
        raise UserError(f"{what} must be one number, or {channels} separated by commas, such as 0.5, not {value!r}")
    if what == "std" and min(numbers) <= 0:
        raise UserError(f"std must be above 0, not {value!r}")
    if max(numbers) > 2:
        raise UserError(f"{what} is of pixels from 0 to 1, so {value!r} is too large; divide it by 255")
    return numbers
