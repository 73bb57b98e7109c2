"""Views of image-like images as torchvision makes them from Pillow images: the oracle of every renderer."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageFilter
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from manyview.views import ColorJitter, ViewParameters

PLAIN = ViewParameters(
    block=(0, 0, 90, 70),
    crop=(12, 5, 71, 58),
    flip=False,
    jitter=None,
    grayscale=False,
    blur_sigma=None,
    solarize=False,
)


def photograph(width: int = 90, height: int = 70, seed: int = 0) -> np.ndarray:
    """Smooth colors with noise and saturated patches, so that every operation has something to change and to clip."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    waves = [np.sin(random.uniform(2, 20) * x + random.uniform(2, 20) * y + phase) for phase in range(3)]
    colours = 128 + 120 * np.stack(waves, axis=-1) + random.normal(0, 25, (height, width, 3))
    return np.clip(colours, 0, 255).astype(np.uint8)


def torchvision_view(image: np.ndarray, parameters: ViewParameters, size: int) -> np.ndarray:
    """The same parameters applied by torchvision, in the order of SimSiam's and BYOL's transforms."""
    left, top, right, bottom = parameters.crop
    view = F.resized_crop(
        Image.fromarray(image), top, left, bottom - top, right - left, [size, size], InterpolationMode.BILINEAR
    )
    if parameters.jitter is not None:
        operations = {
            "brightness": F.adjust_brightness,
            "contrast": F.adjust_contrast,
            "saturation": F.adjust_saturation,
            "hue": F.adjust_hue,
        }
        for name in parameters.jitter.order:
            view = operations[name](view, getattr(parameters.jitter, name))
    if parameters.grayscale:
        view = F.to_grayscale(view, num_output_channels=3)
    if parameters.blur_sigma is not None:
        view = view.filter(ImageFilter.GaussianBlur(radius=parameters.blur_sigma))
    if parameters.solarize:
        view = F.solarize(view, 128)
    if parameters.flip:
        view = F.hflip(view)
    return np.asarray(view)


def jitter(**changes: float) -> ColorJitter:
    """A jitter with one operation for each given value, in the given order."""
    values = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0} | changes
    return ColorJitter(order=tuple(changes), **values)


ONE_OPERATION: dict[str, dict[str, Any]] = {
    "crop and resize": {},
    "flip": {"flip": True},
    "grayscale": {"grayscale": True},
    "least blur": {"blur_sigma": 0.1},
    "some blur": {"blur_sigma": 0.73},
    "most blur": {"blur_sigma": 2.0},
    "solarize": {"solarize": True},
    "darker": {"jitter": jitter(brightness=0.6)},
    "brighter": {"jitter": jitter(brightness=1.4)},
    "no brightness": {"jitter": jitter(brightness=0.0)},
    "less contrast": {"jitter": jitter(contrast=0.61)},
    "more contrast": {"jitter": jitter(contrast=1.39)},
    "less saturation": {"jitter": jitter(saturation=0.6)},
    "more saturation": {"jitter": jitter(saturation=1.4)},
    "hue left": {"jitter": jitter(hue=-0.1)},
    "hue right": {"jitter": jitter(hue=0.0999)},
    "hue by half a turn": {"jitter": jitter(hue=0.5)},
    "hue by minus half a turn": {"jitter": jitter(hue=-0.5)},
    "hue by less than a step": {"jitter": jitter(hue=-0.003)},
}
