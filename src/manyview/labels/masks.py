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
from jaxtyping import Bool, UInt8

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
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise Malformed("has a segmentation that is neither polygons nor run lengths")
    counts, size = segmentation["counts"], segmentation["size"]
    if size != [height, width]:
        raise Malformed(f"has a mask of height and width {size}, where the image has {[height, width]}")
    runs = counts if isinstance(counts, list) else _decompress(counts)
    whole = all(isinstance(run, int) and run >= 0 for run in runs)
    if not whole or sum(runs) != width * height:  # pycocotools would read or write beyond its memory
        raise Malformed(f"has run lengths that do not add up to {width} x {height} pixels")
    if isinstance(counts, list):
        return tools.frPyObjects(segmentation, height, width)
    return {"size": [height, width], "counts": counts.encode() if isinstance(counts, str) else counts}


def _polygons(segmentation: Sequence[Any], reach: int) -> list[list[float | int]]:
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
