"""Rendering of views of 8-bit RGB images with NumPy, PyTorch and OpenCV, where the compiled kernel is missing.

Each operation follows Pillow's definition, including whether results are rounded or truncated; nothing is random.

The kernel gives the same bytes. So every number is a whole one that float32 holds exactly, whatever the order of a sum,
or it comes from single operations of IEEE 754 in the order that is written here and in ``native``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch.nn import functional as F

from manyview.views.geometry import Box, assert_inside
from manyview.views.render.blur_kernels import WHOLE, whole_weights
from manyview.views.sampling import ColorJitter, ViewParameters

Planes = UInt8[np.ndarray, "_channels rows size"]
Plane = Float32[np.ndarray, "rows size"]

_BAND = 64  # rows
_LEVELS = np.arange(256, dtype=np.float32)
_GRAY = (19595, 38470, 7471)  # ITU-R 601-2 as in Pillow's mode L, in 1/65536: sums of 8-bit values are exact in float32


def render_views(
    image: UInt8[np.ndarray, "height width 3"], parameters: Sequence[ViewParameters], size: int
) -> UInt8[np.ndarray, "views 3 {size} {size}"]:
    """Render several views of an image, channels first.

    Args:
        image: The image in RGB.
        parameters: One entry a view; each crop lies within the image.
        size: Side of a view in pixels.

    Returns:
        The views in RGB, in a fresh contiguous array.
    """
    views = crop_views(image, parameters, size)
    for view, its_parameters in zip(views, parameters, strict=True):
        view[...] = _augment(view, its_parameters)
    return views


def crop_views(
    image: UInt8[np.ndarray, "height width 3"], parameters: Sequence[ViewParameters], size: int
) -> UInt8[np.ndarray, "views 3 {size} {size}"]:
    """Crop and resize several views without further augmentation; arguments as for ``render_views``."""
    views = np.empty((len(parameters), 3, size, size), dtype=np.uint8)
    for planes, its_parameters in zip(views, parameters, strict=True):
        cv2.split(_crop(image, its_parameters.crop, size), [planes[0], planes[1], planes[2]])
    return views


def _crop(image: UInt8[np.ndarray, "height width 3"], crop: Box, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Crop, then bilinear resize with antialiasing.

    PyTorch's resize of bytes equals Pillow's, but for weights of 16 bits, and takes a fifth of its time where the
    channels are last.
    """
    left, top, right, bottom = crop
    height, width, _ = image.shape
    assert_inside(crop, width, height)
    pixels = torch.from_numpy(image[top:bottom, left:right][None].copy()).permute(0, 3, 1, 2)
    resized = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).contiguous().numpy()


def _augment(view: Planes, parameters: ViewParameters) -> Planes:
    """Jitter colors, convert to grayscale, blur, solarize, flip; a grayscale view has one channel."""
    if parameters.jitter is not None:
        view = _jitter(view, parameters.jitter)
    if parameters.grayscale:
        # One channel from here on: all further operations treat channels equally and separately.
        view = _gray(*view.astype(np.float32)).astype(np.uint8)[None]
    if parameters.blur_sigma is not None:
        view = _blur(view, parameters.blur_sigma)
    if parameters.solarize:
        view = np.minimum(view, 255 - view)  # inverts the values from 128 on
    if parameters.flip:
        view = view[..., ::-1]
    return view


def _jitter(view: Planes, jitter: ColorJitter) -> Planes:
    """Jitter brightness, contrast, saturation and hue in the sampled order, clipping after each."""
    for operation in jitter.order:
        match operation:
            case "brightness":
                view = _blend(view, 0, jitter.brightness)
            case "contrast":
                view = _blend(view, _gray_mean(view), jitter.contrast)
            case "saturation":
                view = _in_bands(_saturate, view, jitter.saturation)
            case "hue":
                view = _in_bands(_turn_hue, view, int(jitter.hue * 255) % 256)
            case _:
                raise AssertionError(f"unknown operation {operation!r}")
    return view


def _in_bands(change: Callable[[Planes, float | int], Planes], view: Planes, amount: float | int) -> Planes:
    """Change some rows at a time, whose numbers stay in the caches."""
    changed = np.empty_like(view)
    for top in range(0, view.shape[1], _BAND):
        changed[:, top : top + _BAND] = change(view[:, top : top + _BAND], amount)
    return changed


def _blend(view: Planes, base: int, factor: float) -> Planes:
    """Every value's distance from a base value times a factor, truncated and clipped."""
    changed = np.float32(base) + np.float32(factor) * (_LEVELS - np.float32(base))
    table = changed.clip(0, 255).astype(np.uint8)
    return cv2.LUT(view.reshape(-1, view.shape[2]), table).reshape(view.shape)


def _gray(red: Plane, green: Plane, blue: Plane) -> Plane:
    level = red * np.float32(_GRAY[0])
    level += green * np.float32(_GRAY[1])
    level += blue * np.float32(_GRAY[2])
    level += np.float32(2**15)
    level *= np.float32(2**-16)
    return np.trunc(level, out=level)


def _gray_mean(view: Planes) -> int:
    """Mean gray level, rounded as in Pillow."""
    bands = np.split(view, range(_BAND, view.shape[1], _BAND), axis=1)
    total = sum(int(_gray(*band.astype(np.float32)).sum(dtype=np.float64)) for band in bands)
    pixels = view[0].size
    return (2 * total + pixels) // (2 * pixels)


def _saturate(view: Planes, factor: float | int) -> Planes:
    """Every value's distance from its pixel's gray level times a factor, truncated and clipped."""
    values = view.astype(np.float32)
    level = _gray(*values)
    values -= level
    values *= np.float32(factor)
    values += level
    return values.clip(0, 255, out=values).astype(np.uint8)


def _turn_hue(view: Planes, step: float | int) -> Planes:
    """Turn the hue by steps on a circle of 256, in HSV of Pillow's whole numbers."""
    red, green, blue = view.astype(np.float32)
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    # The hue in sixths of the circle, times the chroma; all whole numbers.
    sixths = np.where(green == value, blue - red + 2 * chroma, red - green + 4 * chroma)
    sixths = np.where(red == value, green - blue, sixths)
    sixths += np.where(sixths < 0, 6 * chroma, np.float32(0))
    hue = np.trunc(85 * sixths / np.where(chroma > 0, 2 * chroma, np.float32(1)))
    hue += np.float32(step)
    hue -= np.where(hue >= 256, np.float32(256), np.float32(0))
    saturation = np.trunc(255 * chroma / np.maximum(value, 1))
    chroma = saturation * value * (np.float32(1) / np.float32(255))
    return _to_rgb(hue * (np.float32(6) / np.float32(255)), value, chroma)


def _to_rgb(sixths: Plane, value: Plane, chroma: Plane) -> Planes:
    """Colors of a hue in sixths of the circle: each channel is the value minus a share of the chroma."""
    view = np.empty((3, *value.shape), dtype=np.uint8)
    for channel, offset in zip(view, (5, 3, 1), strict=True):
        position = sixths + np.float32(offset)
        position -= np.where(position >= 6, np.float32(6), np.float32(0))
        share = np.minimum(position, 4 - position).clip(0, 1)
        channel[...] = value - share * chroma + np.float32(0.5)  # truncated
    return view


def _blur(view: Planes, sigma: float) -> Planes:
    """Pillow's Gaussian blur as one kernel, with edge pixels replicated beyond the edge, rounded once."""
    center, *outward = whole_weights(sigma)
    kernel = np.array([*outward[::-1], center, *outward], dtype=np.float32)
    blurred = np.empty(view.shape, dtype=np.float32)
    for source, target in zip(view, blurred, strict=True):
        cv2.sepFilter2D(source, cv2.CV_32F, kernel, kernel, dst=target, borderType=cv2.BORDER_REPLICATE)
    blurred += np.float32(WHOLE**2 / 2)
    blurred *= np.float32(1 / WHOLE**2)
    return blurred.astype(np.uint8)
