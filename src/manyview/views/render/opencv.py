"""Rendering of views of 8-bit RGB images with OpenCV, the fast renderer on a CPU.

Each operation follows Pillow's definition, including whether results are rounded or truncated; only intermediate
rounding differs from ``pillow.py``. Nothing here is random.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch.nn import functional as F

from manyview.views.geometry import Box, assert_inside
from manyview.views.render.blur_kernels import blur_kernels, box_radii
from manyview.views.sampling import ColorJitter, ViewParameters

# Pillow's blend truncates, OpenCV rounds. Slightly less than one half, since OpenCV rounds halves to even.
_TRUNCATE = -0.499

_NEGLIGIBLE = 1 / 1024  # weight at either end of a kernel: together half of one level of 255
_SIGMA_STEPS = 64  # standard deviations are rounded to 1/64 pixel, so that kernels can be cached
_GRAY = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's mode L


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
    views = np.empty((len(parameters), 3, size, size), dtype=np.uint8)
    for planes, its_parameters in zip(views, parameters, strict=True):
        view = _augment(_crop(image, its_parameters.crop, size), its_parameters)
        if view.ndim == 2:
            planes[...] = view
        else:
            cv2.split(view, [planes[0], planes[1], planes[2]])
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
    """Crop, then bilinear resize with antialiasing."""
    left, top, right, bottom = crop
    height, width, _ = image.shape
    assert_inside(crop, width, height)
    part = image[top:bottom, left:right]
    if right - left <= size and bottom - top <= size:
        # Enlarging needs no antialiasing, and OpenCV takes half of PyTorch's time.
        return cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR)
    # PyTorch's antialiased resize equals Pillow's and takes a fifth of its time on channels-last pixels.
    pixels = torch.from_numpy(part[None].copy()).permute(0, 3, 1, 2)
    resized = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def _augment(view: UInt8[np.ndarray, "size size 3"], parameters: ViewParameters) -> UInt8[np.ndarray, "size size *3"]:
    """Jitter colors, convert to grayscale, blur, solarize, flip; a grayscale view has one channel."""
    if parameters.jitter is not None:
        view = _jitter(view, parameters.jitter)
    if parameters.grayscale:
        # One channel from here on: all further operations treat channels equally and separately.
        view = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)
    if parameters.blur_sigma is not None:
        view = _blur(view, parameters.blur_sigma)
    if parameters.solarize:
        view = cv2.min(view, cv2.bitwise_not(view))  # inverts the values from 128 on
    if parameters.flip:
        view = cv2.flip(view, 1)
    return view


def _jitter(view: UInt8[np.ndarray, "size size 3"], jitter: ColorJitter) -> UInt8[np.ndarray, "size size 3"]:
    """Jitter brightness, contrast, saturation and hue in the sampled order, clipping after each."""
    for operation in jitter.order:
        match operation:
            case "brightness":
                view = _blend(view, jitter.brightness)
            case "contrast":
                view = _blend(view, jitter.contrast, shift=_gray_mean(view) * (1 - jitter.contrast))
            case "saturation":
                view = _blend(view, jitter.saturation, gray=1 - jitter.saturation)
            case "hue":
                view = _shift_hue(view, jitter.hue)
            case _:
                raise AssertionError(f"unknown operation {operation!r}")
    return view


def _blend(
    view: UInt8[np.ndarray, "size size 3"], own: float, *, gray: float = 0.0, shift: float = 0.0
) -> UInt8[np.ndarray, "size size 3"]:
    """Each color times ``own``, plus its pixel's gray level times ``gray``, plus ``shift``, truncated and clipped."""
    red, green, blue = (gray * weight for weight in _GRAY)
    shift += _TRUNCATE
    rows = ((own + red, green, blue, shift), (red, own + green, blue, shift), (red, green, own + blue, shift))
    return cv2.transform(view, np.array(rows))


def _gray_mean(view: UInt8[np.ndarray, "size size 3"]) -> int:
    """Mean gray level, rounded as in Pillow."""
    return int(sum(weight * mean for weight, mean in zip(_GRAY, cv2.mean(view)[:3], strict=True)) + 0.5)


def _shift_hue(view: UInt8[np.ndarray, "size size 3"], shift: float) -> UInt8[np.ndarray, "size size 3"]:
    """Rotate the hue by a share of the color circle, in steps of 1/256 (Pillow's are of 1/255)."""
    hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV_FULL)
    rows = hsv.reshape(len(hsv), -1)
    np.add(rows, _hue_step(int(shift * 255) % 256, view.shape[1]), out=rows)  # bytes wrap around, as the hue does
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


@functools.lru_cache(maxsize=1024)
def _hue_step(step: int, width: int) -> UInt8[np.ndarray, " values"]:
    """A row of pixels to add: the step to each hue, 0 to saturation and value."""
    return np.tile(np.array((step, 0, 0), dtype=np.uint8), width)


def _blur(view: UInt8[np.ndarray, "size size *3"], sigma: float) -> UInt8[np.ndarray, "size size *3"]:
    """Pillow's Gaussian blur, with edge pixels replicated beyond the edge."""
    kernel = _kernel(round(sigma * _SIGMA_STEPS))
    return cv2.sepFilter2D(view, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


@functools.lru_cache(maxsize=4096)
def _kernel(steps: int) -> Float64[np.ndarray, " taps"]:
    """Kernel of a standard deviation in steps, without end weights too small to change a value by half a level."""
    kernel = blur_kernels(box_radii(np.array([steps / _SIGMA_STEPS])))[0]
    while kernel[0] < _NEGLIGIBLE:
        kernel = kernel[1:-1]
    return kernel / kernel.sum()
