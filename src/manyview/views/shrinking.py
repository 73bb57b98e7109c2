"""How much smaller an image may be decoded without any of its views showing less than it would."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from manyview.views.geometry import Box
from manyview.views.sampling import ViewParameters

_SHRINKS = (8, 4, 2)  # what JPEG decoders do fast


def largest_shrink(crops: Iterable[Box], size: int) -> int:
    """The largest of 1, 2, 4 and 8 by which each side of an image may be divided as it is decoded.

    Every crop keeps at least one and a half times as many pixels each way as its view has, so that no view is enlarged
    from less than it would have been. With just as many, the rounding of the crop's edges to whole pixels and the
    decoder's own averaging would show: by more than 2/255 on images full of detail.

    Args:
        crops: Parts of the image that are going to be shown, in its own pixels.
        size: Side of a view in pixels.
    """
    least = min(min(right - left, bottom - top) for left, top, right, bottom in crops)
    return next((shrink for shrink in _SHRINKS if 2 * least >= 3 * shrink * size), 1)


def shrink_crops(
    parameters: Sequence[ViewParameters], shrink: int, decoded: tuple[int, int]
) -> tuple[ViewParameters, ...]:
    """Parameters for an image that was decoded smaller; crops are rounded to its pixels.

    Args:
        parameters: Those sampled for the whole image.
        shrink: By how much each side was divided, rounded up.
        decoded: Width and height of what came out, in pixels.

    Returns:
        The same views, whose blocks stay in the image's pixels; the same parameters where nothing was divided.
    """
    if shrink == 1:
        return tuple(parameters)
    return tuple(replace(view, crop=_divide(view.crop, shrink, decoded)) for view in parameters)


def _divide(box: Box, shrink: int, decoded: tuple[int, int]) -> Box:
    width, height = decoded
    left, top, right, bottom = (round(edge / shrink) for edge in box)
    return left, top, min(right, width), min(bottom, height)
