"""Blocks of an image against the figures that follow from Section 3.1, and grids against their closed forms."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest

from manyview.errors import UserError
from manyview.views import Box, block_boxes

GRIDS = [(1, 1), (1, 2), (1, 5), (2, 2), (3, 2), (3, 4), (4, 1), (7, 9)]


def area(box: Box) -> int:
    left, top, right, bottom = box
    return max(0, right - left) * max(0, bottom - top)


def intersection(a: Box, b: Box) -> int:
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou(a: Box, b: Box) -> float:
    return intersection(a, b) / (area(a) + area(b) - intersection(a, b))


def times_covered(width: int, height: int, boxes: tuple[Box, ...]) -> np.ndarray:
    """Number of blocks that show each pixel."""
    counts = np.zeros((height, width), dtype=np.int64)
    for left, top, right, bottom in boxes:
        counts[top:bottom, left:right] += 1
    return counts


def two_by_two(width: int, height: int, overlap: float) -> tuple[Box, ...]:
    """The paper's four, from its own words: blocks of .5 + gamma of the sides, one at each corner."""
    across, down = max(1, round((0.5 + overlap) * width)), max(1, round((0.5 + overlap) * height))
    return (
        (0, 0, across, down),
        (width - across, 0, width, down),
        (0, height - down, across, height),
        (width - across, height - down, width, height),
    )


@pytest.mark.parametrize(("overlap", "share"), [(0, 0.25), (0.2, 0.49), (0.3, 0.64), (0.5, 1)])
def test_share_of_the_area(overlap: float, share: float) -> None:
    for box in block_boxes(1000, 600, overlap):
        assert area(box) / (1000 * 600) == pytest.approx(share)


@pytest.mark.parametrize(("overlap", "expected"), [(0, 0), (0.2, 0.4), (0.3, 0.6), (0.5, 1)])
def test_iou_of_neighbours(overlap: float, expected: float) -> None:
    top_left, top_right, bottom_left, bottom_right = block_boxes(1000, 600, overlap)
    for a, b in [
        (top_left, top_right),
        (top_left, bottom_left),
        (bottom_right, top_right),
        (bottom_right, bottom_left),
    ]:
        assert iou(a, b) == pytest.approx(expected)


def test_default_overlap_and_order_of_the_corners() -> None:
    assert block_boxes(100, 50) == ((0, 0, 70, 35), (30, 0, 100, 35), (0, 15, 70, 50), (30, 15, 100, 50))


@pytest.mark.parametrize("overlap", [0, 0.05, 0.1, 0.2, 0.25, 0.3, 0.37, 0.4999, 0.5])
def test_two_by_two_is_one_block_at_each_corner(overlap: float) -> None:
    for width in range(1, 60):
        for height in (1, 2, 3, 7, 20 * width):
            assert block_boxes(width, height, overlap) == two_by_two(width, height, overlap)
            assert block_boxes(width, height, overlap, grid=(2, 2)) == two_by_two(width, height, overlap)


def test_a_grid_is_listed_row_by_row() -> None:
    assert block_boxes(100, 80, 0.25, grid=(2, 3)) == (
        *((0, 0, 50, 60), (25, 0, 75, 60), (50, 0, 100, 60)),
        *((0, 20, 50, 80), (25, 20, 75, 80), (50, 20, 100, 80)),
    )
    assert block_boxes(90, 30, 0.5, grid=(1, 3)) == ((0, 0, 60, 30), (15, 0, 75, 30), (30, 0, 90, 30))
    assert block_boxes(30, 90, 0, grid=(3, 1)) == ((0, 0, 30, 30), (0, 30, 30, 60), (0, 60, 30, 90))
    assert block_boxes(31, 17, 0.2, grid=(1, 1)) == ((0, 0, 31, 17),)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("overlap", [0, 0.1, 0.2, 0.35, 0.5])
def test_shares_and_overlaps_of_a_grid(grid: tuple[int, int], overlap: float) -> None:
    """In the limit of many pixels n blocks have (1 + 2 gamma)/n of a side, and neighbours share 2 gamma/(n - 1)."""
    width, height = 126_000, 63_000
    rows, columns = grid
    boxes = np.array(block_boxes(width, height, overlap, grid)).reshape(rows, columns, 4)
    for side, count, (first, last), along in [(width, columns, (0, 2), 1), (height, rows, (1, 3), 0)]:
        shares = (boxes[..., last] - boxes[..., first]) / side
        np.testing.assert_allclose(shares, min(1, (1 + 2 * overlap) / count), atol=1e-4)
        if count > 1:
            ends, starts = (np.delete(boxes[..., corner], at, axis=along) for corner, at in ((last, -1), (first, 0)))
            np.testing.assert_allclose((ends - starts) / side, 2 * overlap / (count - 1), atol=1e-4)
    assert boxes.min() == 0
    assert boxes[..., 2].max() == width
    assert boxes[..., 3].max() == height


@pytest.mark.parametrize("size", [(640, 480), (97, 61), (1, 1), (2, 3), (400, 20), (20, 400), (2000, 1), (5, 7)])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("overlap", [0.05, 0.2, 0.5])
def test_blocks_cover_the_image_and_have_one_size(size: tuple[int, int], grid: tuple[int, int], overlap: float) -> None:
    """Sizes with fewer pixels than blocks, and panoramas, too."""
    width, height = size
    boxes = block_boxes(width, height, overlap, grid)
    assert len(boxes) == grid[0] * grid[1]
    assert all(type(corner) is int for box in boxes for corner in box)
    assert len({(right - left, bottom - top) for left, top, right, bottom in boxes}) == 1
    assert all(0 <= left < right <= width and 0 <= top < bottom <= height for left, top, right, bottom in boxes)
    counts = times_covered(width, height, boxes)
    for side, blocks, missed in [(width, grid[1], ~counts.any(axis=0)), (height, grid[0], ~counts.any(axis=1))]:
        if blocks == 1 or 2 * overlap * side / blocks >= 0.5 or side <= blocks:
            assert not missed.any()
        else:  # Blocks overlap by less than half a pixel: rounding may part them, but by no more than one.
            assert missed.sum() < blocks
            assert not (missed[1:] & missed[:-1]).any()


def test_without_overlap_a_grid_that_divides_the_image_tiles_it() -> None:
    for grid in GRIDS:
        counts = times_covered(5 * grid[1], 3 * grid[0], block_boxes(5 * grid[1], 3 * grid[0], 0, grid))
        assert (counts == 1).all()


@pytest.mark.parametrize("overlap", [-0.01, 0.51, 0.7, math.nan, math.inf])
def test_overlap_out_of_range(overlap: float) -> None:
    with pytest.raises(UserError, match=r"overlap is .*from 0 to 0\.5"):
        block_boxes(10, 10, overlap)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-3, 5)])
def test_image_without_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="at least 1"):
        block_boxes(*size)


@pytest.mark.parametrize("grid", [(0, 2), (2, -1), (2, 2.0), (2,), (2, 2, 2), ("2", 2), 3, None])
def test_grid_that_is_none(grid: Any) -> None:
    # Executed annotations would refuse most of these first; users run without them.
    with pytest.raises(UserError, match=r"grid of blocks is .*: give its rows and columns, two whole numbers from 1"):
        inspect.unwrap(block_boxes)(10, 10, 0.2, grid)


def test_grid_of_numpys_integers() -> None:
    rows, columns = np.array([3, 2])
    assert inspect.unwrap(block_boxes)(10, 9, 0.2, (rows, columns)) == block_boxes(10, 9, 0.2, (3, 2))
