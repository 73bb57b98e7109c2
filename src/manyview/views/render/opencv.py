"""Rendering of views of 8-bit RGB images with OpenCV: the fast way on a CPU.

Each operation follows Pillow's definition of it, down to whether a result is rounded or cut off; what differs from
``pillow.py`` is the rounding in between. Nothing here is random.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch.nn import functional as F

from manyview.views.geometry import Box
from manyview.views.render.blur_kernels import blur_kernels, box_radii
from manyview.views.sampling import ColorJitter, ViewParameters

# Pillow's blend cuts off where OpenCV rounds. A hair under one half, as OpenCV rounds whole numbers and a half to even.
_CUT_OFF = -0.499

_NEGLIGIBLE = 1 / 1024  # at either end of a kernel: together half of one level of 255
_SIGMA_STEPS = 64  # deviations are rounded to so many parts of a pixel, so that kernels are made once
_GRAY = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's mode L


def render_views(
    image: UInt8[np.ndarray, "height width 3"], parameters: Sequence[ViewParameters], size: int
) -> UInt8[np.ndarray, "views 3 {size} {size}"]:
    """Several views of an image, channels first.

    Args:
        image: The image in RGB.
        parameters: One entry a view; each crop lies within the image.
        size: Side of a view in pixels.

    Returns:
        The views in RGB, in a fresh contiguous array.
    """
    views = np.empty((len(parameters), 3, size, size), dtype=np.uint8)
    for planes, its_parameters in zip(views, parameters, strict=True):
        view = _alter(_crop(image, its_parameters.crop, size), its_parameters)
        if view.ndim == 2:
            planes[...] = view
        else:
            cv2.split(view, [planes[0], planes[1], planes[2]])
    return views


def crop_views(
    image: UInt8[np.ndarray, "height width 3"], parameters: Sequence[ViewParameters], size: int
) -> UInt8[np.ndarray, "views 3 {size} {size}"]:
    """The crops of several views, resized and not altered further; arguments as for ``render_views``."""
    views = np.empty((len(parameters), 3, size, size), dtype=np.uint8)
    for planes, its_parameters in zip(views, parameters, strict=True):
        cv2.split(_crop(image, its_parameters.crop, size), [planes[0], planes[1], planes[2]])
    return views


def _crop(image: UInt8[np.ndarray, "height width 3"], crop: Box, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Crop, then bilinear resize with antialiasing."""
    left, top, right, bottom = crop
    height, width, _ = image.shape
    assert 0 <= left < right <= width, f"an image of {width} x {height} pixels has no part {crop}"
    assert 0 <= top < bottom <= height, f"an image of {width} x {height} pixels has no part {crop}"
    part = image[top:bottom, left:right]
    if right - left <= size and bottom - top <= size:
        # Nothing is made smaller, so there is nothing to antialias, and OpenCV takes half of PyTorch's time.
        return cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR)
    # Of the antialiased resizes PyTorch's equals Pillow's, in a fifth of its time where the colors lie interleaved.
    pixels = torch.from_numpy(part[None].copy()).permute(0, 3, 1, 2)
    resized = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def _alter(view: UInt8[np.ndarray, "size size 3"], parameters: ViewParameters) -> UInt8[np.ndarray, "size size *3"]:
    """Change colors, take them away, blur, solarize, mirror; a gray view comes out with its channel alone."""
    if parameters.jitter is not None:
        view = _jitter(view, parameters.jitter)
    if parameters.grayscale:
        # One channel until the end: what follows treats the channels alike and separately.
        view = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)
    if parameters.blur_sigma is not None:
        view = _blur(view, parameters.blur_sigma)
    if parameters.solarize:
        view = cv2.min(view, cv2.bitwise_not(view))  # inverts the values from 128 on
    if parameters.flip:
        view = cv2.flip(view, 1)
    return view


def _jitter(view: UInt8[np.ndarray, "size size 3"], jitter: ColorJitter) -> UInt8[np.ndarray, "size size 3"]:
    """Change brightness, contrast, saturation and hue in the sampled order, clipping after each."""
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
    """Each color times ``own``, plus its pixel's gray level times ``gray``, plus ``shift``, cut off and clipped."""
    red, green, blue = (gray * weight for weight in _GRAY)
    shift += _CUT_OFF
    rows = ((own + red, green, blue, shift), (red, own + green, blue, shift), (red, green, own + blue, shift))
    return cv2.transform(view, np.array(rows))


def _gray_mean(view: UInt8[np.ndarray, "size size 3"]) -> int:
    """The mean gray level, rounded as Pillow does."""
    return int(sum(weight * mean for weight, mean in zip(_GRAY, cv2.mean(view)[:3], strict=True)) + 0.5)


def _shift_hue(view: UInt8[np.ndarray, "size size 3"], shift: float) -> UInt8[np.ndarray, "size size 3"]:
    """Turn the hue by a share of the color circle, in steps of 1/256 (Pillow's are of 1/255)."""
    hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV_FULL)
    rows = hsv.reshape(len(hsv), -1)
    np.add(rows, _hue_step(int(shift * 255) % 256, view.shape[1]), out=rows)  # bytes wrap around, as the hue does
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


@functools.lru_cache(maxsize=1024)
def _hue_step(step: int, width: int) -> UInt8[np.ndarray, " values"]:
    """What turns the hues of a row of pixels and leaves saturation and value."""
    return np.tile(np.array((step, 0, 0), dtype=np.uint8), width)


def _blur(view: UInt8[np.ndarray, "size size *3"], sigma: float) -> UInt8[np.ndarray, "size size *3"]:
    """Pillow's Gaussian blur; beyond the edge, the pixels at the edge go on."""
    kernel = _kernel(round(sigma * _SIGMA_STEPS))
    return cv2.sepFilter2D(view, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


@functools.lru_cache(maxsize=4096)
def _kernel(steps: int) -> Float64[np.ndarray, " taps"]:
    """The kernel of a deviation in steps, without the weights at its ends that move no value by half a level."""
    kernel = blur_kernels(box_radii(np.array([steps / _SIGMA_STEPS])))[0]
    while kernel[0] < _NEGLIGIBLE:
        kernel = kernel[1:-1]
    return kernel / kernel.sum()
