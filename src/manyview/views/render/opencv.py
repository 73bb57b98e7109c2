"""Rendering of views of 8-bit RGB images with NumPy, PyTorch and OpenCV, where the compiled kernel is missing.

Each operation follows Pillow's definition, including whether results are rounded or truncated; nothing is random.

The kernel gives the same bytes. So every number is a whole one that float32 holds exactly, whatever the order of a sum,
or it comes from single operations of IEEE 754 in the order that is written here and in ``native``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Int16, UInt8
from torch.nn import functional as F

from manyview.views.geometry import Box, assert_inside
from manyview.views.render.blur_kernels import WHOLE, whole_weights
from manyview.views.sampling import ColorJitter, ViewParameters

Planes = UInt8[np.ndarray, "_channels size size"]
Plane = Float32[np.ndarray, "size size"]
Whole = Int16[np.ndarray, "size size"]

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
                view = _saturate(view, jitter.saturation)
            case "hue":
                view = _turn_hue(view, int(jitter.hue * 255) % 256)
            case _:
                raise AssertionError(f"unknown operation {operation!r}")
    return view


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
    levels = _gray(*view.astype(np.float32))
    return (2 * int(levels.sum(dtype=np.float64)) + levels.size) // (2 * levels.size)


def _saturate(view: Planes, factor: float) -> Planes:
    """Every value's distance from its pixel's gray level times a factor, truncated and clipped."""
    values = view.astype(np.float32)
    level = _gray(*values)
    values -= level
    values *= np.float32(factor)
    values += level
    return values.clip(0, 255, out=values).astype(np.uint8)


def _turn_hue(view: Planes, step: int) -> Planes:
    """Turn the hue by steps on a circle of 256, in HSV of Pillow's whole numbers."""
    red, green, blue = view
    value = np.maximum(np.maximum(red, green), blue)
    chroma = (value - np.minimum(np.minimum(red, green), blue)).astype(np.int16)
    # The hue in sixths of the circle, times the chroma.
    r, g, b = view.astype(np.int16)
    sixths = _either(green == value, b - r + 2 * chroma, r - g + 4 * chroma)
    sixths = _either(red == value, g - b, sixths)
    hue = np.floor(np.float32(85) * sixths.astype(np.float32) / np.maximum(2 * chroma, 1).astype(np.float32))
    byte = hue.astype(np.int16).astype(np.uint8)  # below 0 wraps around
    level = value.astype(np.float32)
    saturation = np.trunc(np.float32(255) * chroma.astype(np.float32) / np.maximum(level, 1))
    shown = saturation * level * (np.float32(1) / np.float32(255))
    turned = np.empty(view.shape, dtype=np.uint8)
    for channel, share in zip(turned, _shares(step), strict=True):
        channel[...] = level - cv2.LUT(byte, share) * shown + np.float32(0.5)  # truncated
    return turned


def _either(chosen: Bool[np.ndarray, "size size"], one: Whole, other: Whole) -> Whole:
    """``np.where``, which takes five times as long where the choice changes from pixel to pixel."""
    mask = -chosen.astype(np.int16)
    return other ^ ((one ^ other) & mask)


@functools.lru_cache(maxsize=256)
def _shares(step: int) -> Float32[np.ndarray, "3 256"]:
    """Share of the chroma that each channel lacks, by the byte of the hue before it is turned.

    The hue is from -43 to 212 on a circle of 255; so bytes from 213 on are below 0.
    """
    byte = np.arange(256)
    hue = (np.where(byte > 212, byte - 1, byte) + step) % 256
    sixths = hue.astype(np.float32) * (np.float32(6) / np.float32(255))
    positions = sixths + np.array([[5], [3], [1]], dtype=np.float32)
    positions -= np.where(positions >= 6, np.float32(6), np.float32(0))
    return np.minimum(positions, 4 - positions).clip(0, 1)


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
