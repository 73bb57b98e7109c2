"""Where the four blocks of a photograph lie (Block-wise Augmentation Module, Section 3.1)."""

from __future__ import annotations

from manyview.errors import UserError

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels; right and bottom are exclusive, as in Pillow."""


def block_boxes(width: int, height: int, overlap: float | int = 0.2) -> tuple[Box, Box, Box, Box]:
    r"""The four overlapping blocks of a photograph, one at each corner (Section 3.1).

    With the overlap \gamma, a block measures (0.5 + \gamma) of the photograph's side, both ways, rounded to whole
    pixels and at least one. \gamma = 0 gives four quarters, \gamma = 0.5 the whole photograph four times.

    Args:
        width: Width of the photograph in pixels, at least 1.
        height: Height of the photograph in pixels, at least 1.
        overlap: \gamma, from 0 to 0.5.

    Returns:
        Boxes of the top-left, top-right, bottom-left and bottom-right block.

    Raises:
        UserError: If the overlap is outside 0 to 0.5, or a side is smaller than one pixel.
    """
    if not 0 <= overlap <= 0.5:
        raise UserError(f"the blocks' overlap is {overlap:g}: give a number from 0 to 0.5")
    if width < 1 or height < 1:
        raise UserError(f"a photograph of {width} x {height} pixels has no blocks: both sides must be at least 1")
    across = max(1, round((0.5 + overlap) * width))
    down = max(1, round((0.5 + overlap) * height))
    left, top = width - across, height - down
    return (0, 0, across, down), (left, 0, width, down), (0, top, across, height), (left, top, width, height)
