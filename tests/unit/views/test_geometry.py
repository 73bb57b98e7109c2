"""Blocks of a photograph against the figures that follow from Section 3.1."""

from __future__ import annotations

import math

import pytest

from manyview.errors import UserError
from manyview.views import Box, block_boxes


def area(box: Box) -> int:
    left, top, right, bottom = box
    return max(0, right - left) * max(0, bottom - top)


def intersection(a: Box, b: Box) -> int:
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou(a: Box, b: Box) -> float:
    return intersection(a, b) / (area(a) + area(b) - intersection(a, b))


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


@pytest.mark.parametrize("overlap", [0, 0.05, 0.2, 0.3, 0.4999, 0.5])
def test_every_size_gives_blocks_of_one_size_at_the_corners(overlap: float) -> None:
    for width in range(1, 60):
        for height in (1, 2, 3, 7, 20 * width):
            boxes = block_boxes(width, height, overlap)
            assert [(left == 0, top == 0, right == width, bottom == height) for left, top, right, bottom in boxes] == [
                (True, True, boxes[0][2] == width, boxes[0][3] == height),
                (boxes[1][0] == 0, True, True, boxes[1][3] == height),
                (True, boxes[2][1] == 0, boxes[2][2] == width, True),
                (boxes[3][0] == 0, boxes[3][1] == 0, True, True),
            ]
            for left, top, right, bottom in boxes:
                assert right - left >= 1
                assert bottom - top >= 1
                assert math.isclose(right - left, (0.5 + overlap) * width, abs_tol=0.5 + 1e-9)
                assert math.isclose(bottom - top, (0.5 + overlap) * height, abs_tol=0.5 + 1e-9)


@pytest.mark.parametrize("overlap", [-0.01, 0.51, 0.7, math.nan, math.inf])
def test_overlap_out_of_range(overlap: float) -> None:
    with pytest.raises(UserError, match=r"overlap is .*from 0 to 0\.5"):
        block_boxes(10, 10, overlap)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-3, 5)])
def test_photograph_without_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="at least 1"):
        block_boxes(*size)
