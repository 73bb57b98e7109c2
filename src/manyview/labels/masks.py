"""Masks in COCO's formats: polygons, and run lengths, plain or compressed.

Run lengths go down the columns, and the first one counts pixels outside of the object:
https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.h
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from manyview.errors import UserError
from manyview.labels.problems import Malformed

_REACH = 100  # sides of the image that a polygon may reach beyond it
# A character of compressed run lengths holds five bits of a number, lowest first, and whether more follow.
_ZERO, _BITS, _MORE, _SIGN = 48, 5, 0x20, 0x10
_HIGHEST = 63  # largest value of a character


class Rle(TypedDict):
    """A mask as compressed run lengths, as pycocotools takes it."""

    size: list[int]  # height and width
    counts: bytes


def mask_tools() -> ModuleType:
    """The ``mask`` module of pycocotools.

    Raises:
        UserError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UserError(
            "masks and COCO's average precision need pycocotools: pip install 'manyview[detect]'"
        ) from error
    return mask


def to_rle(segmentation: Any, width: int, height: int) -> Rle:
    """Convert a mask in any of COCO's formats to compressed run lengths, with the pixels that pycocotools gives it.

    Args:
        segmentation: a list of polygons [x1, y1, x2, y2, ...], which together are one object; or run lengths
            ``{"size": [height, width], "counts": ...}``, plain (a list) or compressed (a string).
        width: of the image, in pixels.
        height: of the image, in pixels.

    Raises:
        Malformed: it is neither, or its size differs from the image's.
        UserError: pycocotools is not installed.
    """
    tools = mask_tools()
    if isinstance(segmentation, list):
        return tools.merge(tools.frPyObjects(_polygons(segmentation, _REACH * max(width, height)), height, width))
    _runs(segmentation, [height, width])
    counts = segmentation["counts"]
    if isinstance(counts, list):
        return tools.frPyObjects(segmentation, height, width)
    return {"size": [height, width], "counts": counts.encode() if isinstance(counts, str) else counts}


def _polygons(segmentation: Sequence[Any], reach: float | int) -> list[list[float | int]]:
    """Checked polygons, without those of two corners or fewer, which pycocotools takes for boxes."""
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise Malformed("has a polygon that is not a list of x and y in turn")
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in polygon):
            raise Malformed("has a polygon with a coordinate that is not a number")
        if any(abs(value) > reach for value in polygon):  # pycocotools takes memory for every pixel of an edge
            raise Malformed("has a polygon that reaches far beyond its image")
    polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
    if not polygons:
        raise Malformed("has no polygon of at least three corners")
    return polygons


def _decompress(counts: Any) -> list[int]:
    """Decompress run lengths, which from the fourth on are differences to the last but one."""
    codes = counts.encode() if isinstance(counts, str) else counts
    if not isinstance(codes, bytes) or not all(0 <= code - _ZERO <= _HIGHEST for code in codes):
        raise Malformed("has compressed run lengths that are not valid")
    runs: list[int] = []
    value = shift = 0
    for code in codes:
        bits = code - _ZERO
        value |= (bits & (_MORE - 1)) << shift
        shift += _BITS
        if bits & _MORE:
            continue
        if bits & _SIGN:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise Malformed("has compressed run lengths that break off")
    return runs


def box_of_corners(corners: Sequence[float | int]) -> tuple[float, float, float, float]:
    """Left, top, width and height of the smallest box around corners, which are x and y in turn, in their unit."""
    x, y = corners[::2], corners[1::2]
    left, top, right, bottom = map(float, (min(x), min(y), max(x), max(y)))
    return left, top, right - left, bottom - top


def box_around(segmentation: Any) -> tuple[float, float, float, float]:
    """Left, top, width and height of the smallest box around a mask in any of COCO's formats, in its units.

    Raises:
        Malformed: it is neither polygons nor run lengths, or has no pixel.
    """
    if isinstance(segmentation, list):
        return box_of_corners([value for polygon in _polygons(segmentation, math.inf) for value in polygon])
    runs = np.array(_runs(segmentation), dtype=np.int64)
    height = int(segmentation["size"][0])
    ends = np.cumsum(runs)[1::2]
    starts = ends - runs[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts] - 1  # the first and the last pixel of each run
    if not len(starts):
        raise Malformed("has a mask without a pixel")
    columns = int(starts[0]) // height, int(ends[-1]) // height
    whole = starts // height != ends // height  # from the foot of one column to the head of the next
    top = 0 if whole.any() else int((starts % height).min())
    bottom = height - 1 if whole.any() else int((ends % height).max())
    return float(columns[0]), float(top), float(columns[1] - columns[0] + 1), float(bottom - top + 1)


def _runs(segmentation: Any, expected: list[int] | None = None) -> list[int]:
    """Checked run lengths of a mask whose height and width must be these, if given."""
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise Malformed("has a segmentation that is neither polygons nor run lengths")
    counts, size = segmentation["counts"], segmentation["size"]
    if expected is not None and size != expected:
        raise Malformed(f"has a mask of height and width {size}, where the image has {expected}")
    if not (isinstance(size, list) and len(size) == 2 and all(map(_is_whole, size))):
        raise Malformed(f"has a mask of height and width {size}, which must be two whole numbers from 1")
    runs = counts if isinstance(counts, list) else _decompress(counts)
    whole = all(isinstance(run, int) and run >= 0 for run in runs)
    if not whole or sum(runs) != size[0] * size[1]:  # pycocotools would read or write beyond its memory
        raise Malformed(f"has run lengths that do not add up to {int(size[1])} x {int(size[0])} pixels")
    return runs


def _is_whole(side: Any) -> bool:
    """Whether it is a number of pixels from 1; 3.0 is one, too."""
    return isinstance(side, int | float) and side >= 1 and side % 1 == 0


def mask_areas(masks: Sequence[Rle]) -> Int64[np.ndarray, " masks"]:
    """Number of pixels of each mask.

    Raises:
        UserError: pycocotools is not installed.
    """
    tools = mask_tools()  # whose function fails with NumPy 2 for more than 255 masks together
    return np.array([tools.area(mask) for mask in masks], dtype=np.int64)


def decode_masks(masks: Sequence[Rle], width: int, height: int) -> UInt8[np.ndarray, "masks height width"]:
    """Decode masks to pixels, 1 in the object and 0 elsewhere.

    Raises:
        UserError: pycocotools is not installed.
    """
    if not masks:
        return np.zeros((0, height, width), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="__array__ implementation")  # pycocotools' arrays are NumPy 1's
        return np.ascontiguousarray(mask_tools().decode(list(masks)).transpose(2, 0, 1))


def encode_mask(
    mask: Bool[np.ndarray, "rows columns"], left: int = 0, top: int = 0, size: tuple[int, int] | None = None
) -> Rle:
    """Encode a mask of pixels as compressed run lengths.

    Args:
        mask: of an image, or of a part of it that contains the object.
        left: the part's first column.
        top: its first row.
        size: width and height of the image; unset: the mask's.

    Raises:
        UserError: pycocotools is not installed.
    """
    (rows, columns), (width, height) = mask.shape, size or mask.shape[::-1]
    strip = np.zeros((columns, height), dtype=bool)  # whole columns, one after the other, as runs go on over their ends
    strip[:, top : top + rows] = mask.T
    changes = left * height + np.flatnonzero(np.diff(strip.ravel(), prepend=False, append=False))
    counts = np.diff(changes[changes < width * height], prepend=0, append=width * height)
    return mask_tools().frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
