"""Rendering of views with Pillow, the reference for faster renderers.

Every operation equals torchvision's on a Pillow image with the same parameters to the bit. Nothing here is random.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageFilter

from manyview.views.geometry import assert_inside
from manyview.views.sampling import ColorJitter, ViewParameters

_LEVELS_TWICE = [*range(256), *range(256)]


def render_view(
    image: UInt8[np.ndarray, "height width 3"], parameters: ViewParameters, size: int
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Render one view of an image.

    The operations follow the order of SimSiam and BYOL: crop and bilinear resize with antialiasing, color jitter,
    grayscale, Gaussian blur, solarization, horizontal flip.

    Args:
        image: The image in RGB.
        parameters: Parameters of the view; the crop lies within the image.
        size: Side of the view in pixels.

    Returns:
        The view in RGB, in a fresh array.
    """
    return np.array(_render(image, parameters, size), order="C")


def render_views(
    image: UInt8[np.ndarray, "height width 3"], parameters: Sequence[ViewParameters], size: int
) -> UInt8[np.ndarray, "views 3 {size} {size}"]:
    """Render several views of an image, channels first, each as ``render_view`` does.

    Args:
        image: The image in RGB.
        parameters: One entry a view.
        size: Side of a view in pixels.

    Returns:
        The views in RGB, in a fresh contiguous array.
    """
    views = np.empty((len(parameters), 3, size, size), dtype=np.uint8)
    for view, its_parameters in zip(views, parameters, strict=True):
        view[...] = _render(image, its_parameters, size).transpose(2, 0, 1)
    return views


def _render(
    image: UInt8[np.ndarray, "height width 3"], parameters: ViewParameters, size: int
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """A view that may be read-only, or have negative or zero strides; the callers copy it."""
    left, top, right, bottom = parameters.crop
    height, width, _ = image.shape
    assert_inside(parameters.crop, width, height)
    # Cropped before it is resized: Pillow's resize(box=...) would include pixels from outside the crop.
    crop = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    view = crop.resize((size, size), Image.Resampling.BILINEAR)
    if parameters.jitter is not None:
        view = _jitter(view, parameters.jitter)
    if parameters.grayscale:
        # One channel from here on: all further operations treat channels equally and separately.
        view = view.convert("L")
    if parameters.blur_sigma is not None:
        view = view.filter(ImageFilter.GaussianBlur(parameters.blur_sigma))
    pixels = np.asarray(view)
    if parameters.solarize:
        pixels = np.minimum(pixels, 255 - pixels)  # inverts the values from 128 on
    if parameters.flip:
        pixels = pixels[:, ::-1]
    if parameters.grayscale:
        pixels = np.broadcast_to(pixels[..., None], (size, size, 3))
    return pixels


def _jitter(view: Image.Image, jitter: ColorJitter) -> Image.Image:
    """Jitter brightness, contrast, saturation and hue in the sampled order."""
    for operation in jitter.order:
        match operation:
            case "brightness":
                view = ImageEnhance.Brightness(view).enhance(jitter.brightness)
            case "contrast":
                view = _change_contrast(view, jitter.contrast)
            case "saturation":
                view = ImageEnhance.Color(view).enhance(jitter.saturation)
            case "hue":
                view = _shift_hue(view, jitter.hue)
            case _:
                raise AssertionError(f"unknown operation {operation!r}")
    return view


def _change_contrast(view: Image.Image, factor: float) -> Image.Image:
    """Blend with the mean gray level; Pillow's ``ImageEnhance.Contrast`` with a faster mean."""
    mean = int(np.asarray(view.convert("L")).mean() + 0.5)
    return Image.blend(Image.new("RGB", view.size, (mean, mean, mean)), view, factor)


def _shift_hue(view: Image.Image, shift: float) -> Image.Image:
    """Rotate the hue by a share of the color circle, in steps of 1/255, as torchvision does.

    A shift of 0 is not the identity: the conversion to HSV and back rounds.
    """
    hue, saturation, value = view.convert("HSV").split()
    step = int(shift * 255) % 256
    hue = hue.point(_LEVELS_TWICE[step : step + 256])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")
