"""Rendering of views of 8-bit RGB images by a compiled kernel, the fastest renderer on a CPU.

The views are those of ``opencv.py``, byte for byte. The C code in the folder ``native`` is compiled to ``_kernel`` when
the package is installed; without a compiler it is left out, ``IS_BUILT`` is false, and ``opencv.py`` renders.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int32, UInt8, UInt16

from manyview.views.geometry import assert_inside
from manyview.views.render.blur_kernels import whole_weights
from manyview.views.sampling import ViewParameters

try:
    from manyview.views.render._kernel import render
except ImportError:
    IS_BUILT = False
else:
    IS_BUILT = True

_CODES = {"brightness": 1, "contrast": 2, "saturation": 3, "hue": 4}
_NO_BLUR = -1


def render_views(
    image: UInt8[np.ndarray, "height width 3"], parameters: Sequence[ViewParameters], size: int
) -> UInt8[np.ndarray, "views 3 {size} {size}"]:
    """Render several views of an image, channels first; arguments and result as of ``opencv.render_views``."""
    return _render(image, parameters, size, augment=True)


def crop_views(
    image: UInt8[np.ndarray, "height width 3"], parameters: Sequence[ViewParameters], size: int
) -> UInt8[np.ndarray, "views 3 {size} {size}"]:
    """Crop and resize several views without further augmentation; arguments as for ``render_views``."""
    return _render(image, parameters, size, augment=False)


def _render(
    image: UInt8[np.ndarray, "height width 3"], parameters: Sequence[ViewParameters], size: int, *, augment: bool
) -> UInt8[np.ndarray, "views 3 {size} {size}"]:
    height, width, _ = image.shape
    for view in parameters:
        assert_inside(view.crop, width, height)
    views = np.empty((len(parameters), 3, size, size), dtype=np.uint8)
    if len(parameters):
        kernels = [() if view.blur_sigma is None else whole_weights(view.blur_sigma) for view in parameters]
        weights = _table(kernels)
        render(
            np.ascontiguousarray(image), width, height,
            _numbers(parameters, kernels), _strengths(parameters), weights,
            views, len(parameters), size, weights.shape[1], augment,
        )  # fmt: skip
    return views


def _numbers(
    parameters: Sequence[ViewParameters], kernels: Sequence[tuple[int, ...]]
) -> Int32[np.ndarray, "views numbers"]:
    """Crop, grayscale, solarize, flip, reach of the blur, and up to four color operations, of each view."""
    rows = []
    for view, kernel in zip(parameters, kernels, strict=True):
        order = [_code(operation) for operation in view.jitter.order] if view.jitter is not None else []
        reach = len(kernel) - 1 if len(kernel) > 1 else _NO_BLUR
        rows.append((*view.crop, view.grayscale, view.solarize, view.flip, reach, *order, *[0] * (4 - len(order))))
    return np.array(rows, dtype=np.int32)


def _code(operation: str) -> int:
    assert operation in _CODES, f"unknown operation {operation!r}"
    return _CODES[operation]


def _strengths(parameters: Sequence[ViewParameters]) -> Float32[np.ndarray, "views 4"]:
    """Factors of brightness, contrast and saturation, and steps of the hue in 1/256 of the circle."""
    rows = [
        (jitter.brightness, jitter.contrast, jitter.saturation, int(jitter.hue * 255) % 256)
        if (jitter := view.jitter) is not None
        else (1, 1, 1, 0)
        for view in parameters
    ]
    return np.array(rows, dtype=np.float32)


def _table(kernels: Sequence[tuple[int, ...]]) -> UInt16[np.ndarray, "views taps"]:
    """The kernels of all views, filled up with zeros."""
    taps = max(1, *map(len, kernels))
    return np.array([kernel + (0,) * (taps - len(kernel)) for kernel in kernels], dtype=np.uint16)
