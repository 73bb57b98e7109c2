"""Detects boxes that are given by other numbers than their format's: as shares, corners, or with their center."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from manyview.errors import UserError

CORNERS, TOP_LEFT, CENTER = "left, top, right, bottom", "left, top, width, height", "center x, center y, width, height"
"""The four numbers of a box."""

_FEWEST = 4  # boxes from which something can be concluded
_BEYOND = 0.05  # share of the image's side; annotators draw over the edge by less
_NEARLY_ALL = 0.98  # share of the boxes that fit if read otherwise; some are faulty in themselves
_MANY = 0.1  # share of the boxes that are cut
_ROUNDING = 1.0  # pixels
_AREA = 0.01  # relative difference of equal areas

Boxes = Float64[np.ndarray, "objects 4"]
Sizes = Int64[np.ndarray, "objects 2"]


def check_layout(
    file: Path,
    boxes: Float64[np.ndarray, "objects 4"],
    sizes: Int64[np.ndarray, "objects 2"],
    *,
    layout: str = TOP_LEFT,
    areas: Sequence[float | None] = (),
    in_shares: bool = False,
) -> None:
    """Refuse boxes that are evidently not what their format means.

    Args:
        file: the label file, for messages.
        boxes: left, top, width, height of each object in pixels, as the format's numbers give them.
        sizes: width and height of each object's image in pixels.
        layout: what a box's numbers are in the format.
        areas: of each object, if stated.
        in_shares: whether the format's boxes are shares of the image's sides, instead of pixels.

    Raises:
        UserError: no number of a box is above 1, as shares of the image in place of pixels have it; or many reach
            far beyond their images, or have another area than stated, while none does if its four numbers are read in
            another layout.
    """
    with_area = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    boxes, sizes = boxes[with_area], sizes[with_area]
    stated = [area for area, keep in zip(areas, with_area, strict=True) if keep] if len(areas) else []
    if not in_shares:
        _check_pixels(file, boxes, sizes, layout)
    if len(boxes) < _FEWEST:
        return
    numbers = _numbers(boxes, layout)
    far = _beyond(boxes, sizes, _BEYOND * sizes)
    many = far.sum() >= max(2, _MANY * len(boxes))
    for other in (CORNERS, TOP_LEFT, CENTER):
        if other == layout:
            continue
        read = _read(numbers, other)
        fits = (read[:, 2:] > 0).all(axis=1) & ~_beyond(read, sizes, np.full(2, _ROUNDING))
        if fits.mean() >= _NEARLY_ALL and (many or _has_areas(read, boxes, stated)):
            example = int(np.argmax(far))
            shown = ", ".join(f"{value:g}" for value in numbers[example])
            raise UserError(
                f"{file} gives its boxes as {other}, such as [{shown}] in an image of "
                f"{sizes[example][0]} x {sizes[example][1]} pixels, where its format has {layout}: convert them"
            )


def _check_pixels(file: Path, boxes: Boxes, sizes: Sizes, layout: str) -> None:
    numbers = _numbers(boxes, layout)  # Pascal VOC's corners count from 1, so that those of shares begin at -1
    if len(boxes) and (abs(numbers) <= 1 + _AREA).all() and (boxes % 1 != 0).any() and (sizes > 1).all():
        shown = ", ".join(f"{value:g}" for value in numbers[0])
        raise UserError(
            f"{file} gives its boxes as shares of the image, such as [{shown}] in an image of {sizes[0][0]} x "
            f"{sizes[0][1]} pixels, where its format has pixels: multiply them by the image's width and height"
        )


def _numbers(boxes: Boxes, layout: str) -> Boxes:
    """The four numbers of boxes (left, top, width, height) in a layout."""
    start, extent = boxes[:, :2], boxes[:, 2:]
    if layout == CORNERS:
        return np.concatenate([start, start + extent], axis=1)
    return np.concatenate([start + extent / 2, extent], axis=1) if layout == CENTER else boxes


def _read(numbers: Boxes, layout: str) -> Boxes:
    """Boxes (left, top, width, height) whose four numbers have a layout."""
    start, others = numbers[:, :2], numbers[:, 2:]
    if layout == CORNERS:
        return np.concatenate([start, others - start], axis=1)
    return np.concatenate([start - others / 2, others], axis=1) if layout == CENTER else numbers


def _beyond(boxes: Boxes, sizes: Sizes, slack: Float64[np.ndarray, ...]) -> Bool[np.ndarray, " objects"]:
    """Which boxes reach beyond their images by more than some pixels."""
    start, end = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    return ((start < -slack) | (end > sizes + slack)).any(axis=1)


def _has_areas(read: Boxes, boxes: Boxes, stated: Sequence[float | None]) -> bool:
    """Whether every object states the area of the box as read, and few that of the box as the format means it."""
    if not stated or any(area is None for area in stated):
        return False
    areas = np.array(stated, dtype=np.float64)
    as_read, as_meant = (
        np.isclose(each[:, 2:].prod(axis=1), areas, rtol=_AREA, atol=_ROUNDING) for each in (read, boxes)
    )
    return bool(as_read.all() and as_meant.mean() < _MANY)
