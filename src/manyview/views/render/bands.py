"""Rendering of views with any number of bands, of 8 or 16 bits, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8, UInt16
from torch.nn import functional as F

from manyview.views.geometry import assert_inside
from manyview.views.render.batch_parameters import view_table
from manyview.views.render.torch import augment_views
from manyview.views.sampling import ViewParameters

Bands = UInt8[np.ndarray, "height width bands"] | UInt16[np.ndarray, "height width bands"]
Views = UInt8[np.ndarray, "views bands {size} {size}"] | UInt16[np.ndarray, "views bands {size} {size}"]


def render_views(
    image: Bands, parameters: Sequence[ViewParameters], size: int, rgb: tuple[int, int, int] | None = None
) -> Views:
    """Render several views of an image, channels first.

    The operations and their order are those of the Pillow reference. Crop, resize, blur and flip apply to every band
    separately; brightness, contrast, saturation, hue, grayscale and solarization only to red, green and blue.

    Args:
        image: White is 255 for 8 bits, 65535 for 16 bits.
        parameters: One entry a view; each crop lies within the image.
        size: Side of a view in pixels.
        rgb: Which bands, from 0, are red, green and blue; None if none are, then colors are not augmented.

    Returns:
        The views in the image's dtype, in a fresh contiguous array.
    """
    crops = torch.from_numpy(crop_views(image, parameters, size))
    return augment_views(crops, view_table(parameters), rgb).numpy()


def crop_views(image: Bands, parameters: Sequence[ViewParameters], size: int) -> Views:
    """Crop and resize several views without further augmentation; arguments as for ``render_views``."""
    height, width, bands = image.shape
    views = np.empty((len(parameters), bands, size, size), dtype=image.dtype)
    for view, its_parameters in zip(views, parameters, strict=True):
        assert_inside(its_parameters.crop, width, height)
        left, top, right, bottom = its_parameters.crop
        for band, plane in enumerate(view):
            # One at a time, so that only one band of a crop is in memory as floating-point numbers.
            part = torch.from_numpy(image[top:bottom, left:right, band].astype(np.float32))[None, None]
            plane[...] = F.interpolate(part, (size, size), mode="bilinear", antialias=True)[0, 0].round_().numpy()
    return views
