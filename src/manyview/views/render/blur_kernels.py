"""Convolution kernels equal to Pillow's Gaussian blur.

Pillow's ``GaussianBlur`` applies three extended box blurs in sequence: a box with a fraction of a pixel at each
end can have any variance, and three of them approximate a Gaussian (Gwosdek et al., Theoretical Foundations of
Gaussian Convolution by Extended Box Filtering, SSVM 2011). Here the three are one kernel, so values are rounded once
where Pillow rounds to 8 bits six times, which makes a difference of a quarter of a level in the mean.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

_BOXES = 3


def box_radii(sigmas: Float64[np.ndarray, " views"]) -> Float64[np.ndarray, " views"]:
    """Radius of the extended box, three of which have this standard deviation (Gwosdek et al., Eqs. 7, 11, 14).

    Args:
        sigmas: Standard deviations in pixels, from 0.
    """
    variance = sigmas**2 / _BOXES  # of one box
    whole = np.floor((np.sqrt(12 * variance + 1) - 1) / 2)
    end = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    return whole + end


def blur_kernels(radii: Float64[np.ndarray, " views"]) -> Float64[np.ndarray, "views taps"]:
    """Kernels of three extended boxes each.

    Args:
        radii: Of the boxes, at least one.

    Returns:
        One row for each radius, with sum 1 and an odd number of taps, as many as the widest kernel needs.
    """
    reach = int(radii.max()) + 1
    distances = np.abs(np.arange(-reach, reach + 1))
    boxes = np.clip(radii[:, None] + 1 - distances, 0, 1) / (2 * radii[:, None] + 1)
    kernels = boxes
    for _ in range(_BOXES - 1):
        kernels = _convolve(kernels, boxes)
    return kernels


def _convolve(
    rows: Float64[np.ndarray, "views taps"], boxes: Float64[np.ndarray, "views width"]
) -> Float64[np.ndarray, "views sum"]:
    """Convolve each row with its own box."""
    taps = rows.shape[1]
    result = np.zeros((len(rows), taps + boxes.shape[1] - 1))
    for shift, weights in enumerate(boxes.T):
        result[:, shift : shift + taps] += weights[:, None] * rows
    return result
