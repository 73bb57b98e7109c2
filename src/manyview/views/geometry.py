"""Boxes in images: overlapping blocks (Block-wise Augmentation Module, Section 3.1), and boxes at reduced sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral

from manyview.errors import UserError

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels; right and bottom are exclusive, as in Pillow."""

_SHRINKS = (8, 4, 2)  # factors at which JPEG decoders are fast


def block_boxes(width: int, height: int, overlap: float | int = 0.2, grid: tuple[int, int] = (2, 2)) -> tuple[Box, ...]:
    r"""The overlapping blocks of an image: the paper's four, one at each corner, or a larger grid of them.

    With the overlap \gamma, a block is (1 + 2 \gamma) times as wide and as high as a cell of the grid, rounded to whole
    pixels, at least one and at most the image's side. In each direction the blocks are spaced evenly from edge to
    edge. So each of the paper's 2 x 2 measures (0.5 + \gamma) of the image's sides: \gamma = 0 gives four
    quarters, \gamma = 0.5 the whole image four times. Of n > 1 blocks side by side, neighbors share
    2 \gamma / (n - 1) of the side. Together the blocks cover the image; where they hardly overlap, rounding may
    leave a line of one pixel between two of them.

    Args:
        width: Width of the image in pixels, at least 1.
        height: Height of the image in pixels, at least 1.
        overlap: \gamma, from 0 to 0.5.
        grid: Rows and columns of blocks, at least one each. There may be more of them than pixels; some blocks are
            equal then.

    Returns:
        Boxes row by row from the top, each row from the left.

    Raises:
        UserError: If the overlap is outside 0 to 0.5, a side is smaller than one pixel, or the grid is not two whole
            numbers from 1.
    """
    if not 0 <= overlap <= 0.5:
        raise UserError(f"the blocks' overlap is {overlap:g}: give a number from 0 to 0.5")
    if width < 1 or height < 1:
        raise UserError(f"an image of {width} x {height} pixels has no blocks: both sides must be at least 1")
    if not (isinstance(grid, Sequence) and len(grid) == 2 and all(isinstance(n, Integral) and n >= 1 for n in grid)):
        raise UserError(f"the grid of blocks is {grid!r}: give its rows and columns, two whole numbers from 1")
    rows, columns = map(int, grid)
    across, down = _spans(width, columns, overlap), _spans(height, rows, overlap)
    return tuple((left, top, right, bottom) for top, bottom in down for left, right in across)


def _spans(side: int, blocks: int, overlap: float | int) -> list[tuple[int, int]]:
    """Start and end of blocks of one length, spaced evenly along a side from edge to edge."""
    length = min(side, max(1, round((1 + 2 * overlap) * side / blocks)))
    room, gaps = side - length, max(1, blocks - 1)
    starts = (round(room * block / gaps) for block in range(blocks))
    return [(start, start + length) for start in starts]


def assert_inside(box: Box, width: int, height: int) -> None:
    """Assert that a box lies within an image and holds at least one pixel."""
    left, top, right, bottom = box
    assert 0 <= left < right <= width, f"an image of {width} x {height} pixels has no part {box}"
    assert 0 <= top < bottom <= height, f"an image of {width} x {height} pixels has no part {box}"


def largest_shrink(crops: Iterable[Box], size: int) -> int:
    """The largest of 1, 2, 4 and 8 by which an image's sides may be divided in decoding without loss in its views.

    Every crop keeps at least 1.5 times as many pixels per side as its view, so no view is enlarged from fewer pixels
    than it would have been. With only as many, the rounding of the crop's edges to whole pixels and the decoder's
    averaging would show: by more than 2/255 on images full of detail.

    Args:
        crops: Crops to be shown, in the image's pixels.
        size: Side of a view in pixels.
    """
    least = min(min(right - left, bottom - top) for left, top, right, bottom in crops)
    return next((shrink for shrink in _SHRINKS if 2 * least >= 3 * shrink * size), 1)


def shrink_box(box: Box, shrink: int, decoded: tuple[int, int]) -> Box:
    """A box in the pixels of the image decoded at a reduced size (width, height)."""
    width, height = decoded
    left, top, right, bottom = (round(edge / shrink) for edge in box)
    return left, top, min(right, width), min(bottom, height)
