"""Rendering of views on the CPU, by the renderer for the image's type.

8-bit RGB has two fast ones that give the same bytes: the compiled ``kernel``, and ``opencv`` where it was not built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import UInt8, UInt16

from manyview.views.render import bands, kernel, opencv, pillow
from manyview.views.sampling import ViewParameters

Renderer = Literal["cpu", "reference"]
Pixels = UInt8[np.ndarray, "height width channels"] | UInt16[np.ndarray, "height width channels"]
View = UInt8[np.ndarray, "{size} {size} channels"] | UInt16[np.ndarray, "{size} {size} channels"]
Views = UInt8[np.ndarray, "views channels {size} {size}"] | UInt16[np.ndarray, "views channels {size} {size}"]

fast = kernel if kernel.IS_BUILT else opencv
_RENDERERS = {"cpu": fast.render_views, "reference": pillow.render_views}
RGB = (0, 1, 2)


def render_view(
    image: Pixels,
    parameters: ViewParameters,
    size: int,
    *,
    renderer: Renderer = "cpu",
    rgb: tuple[int, int, int] | None = RGB,
) -> View:
    """Render one view of an image, channels last; see ``render_views``."""
    views = render_views(image, [parameters], size, renderer=renderer, rgb=rgb)
    return np.ascontiguousarray(views[0].transpose(1, 2, 0))


def render_views(
    image: Pixels,
    parameters: Sequence[ViewParameters],
    size: int,
    *,
    renderer: Renderer = "cpu",
    rgb: tuple[int, int, int] | None = RGB,
) -> Views:
    """Render several views of an image, channels first.

    Args:
        image: 8-bit RGB, or any number of bands of 8 or 16 bits.
        parameters: One entry a view.
        size: Side of a view in pixels.
        renderer: For 8-bit RGB: "cpu" for the compiled kernel or OpenCV, several times as fast and within 2/255 of
            "reference", which is Pillow. Other images have one renderer only.
        rgb: Which channels, from 0, are red, green and blue; None if none are, then colors are not augmented.

    Returns:
        The views in the image's dtype, in a fresh array.
    """
    if image.dtype == np.uint8 and image.shape[2] == 3 and rgb == RGB:
        return _RENDERERS[renderer](image, parameters, size)
    return bands.render_views(image, parameters, size, rgb)


def crop_views(image: Pixels, parameters: Sequence[ViewParameters], size: int) -> Views:
    """Crop and resize several views without further augmentation; arguments as for ``render_views``."""
    plain = image.dtype == np.uint8 and image.shape[2] == 3
    return (fast if plain else bands).crop_views(image, parameters, size)
