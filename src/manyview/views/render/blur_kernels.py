"""Pillow's Gaussian blur as kernels.

Pillow's ``GaussianBlur`` is three extended box blurs, one after the other: a box with a fraction of a pixel at each
end can have any variance, and three of them come close to a Gaussian (Gwosdek et al., Theoretical Foundations of
Gaussian Convolution by Extended Box Filtering, SSVM 2011). Here the three are one kernel, so values are rounded once
where Pillow rounds to 8 bits six times; by that the two differ, a quarter of a level in the mean.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

_BOXES = 3


def box_radii(sigmas: Float64[np.ndarray, " views"]) -> Float64[np.ndarray, " views"]:
    """The radius of the extended box of which three make a blur of this deviation (Gwosdek et al., Eqs. 7, 11, 14).

    Args:
        sigmas: Deviations in pixels, from 0.
    """
    variance = sigmas**2 / _BOXES  # of one box
    whole = np.floor((np.sqrt(12 * variance + 1) - 1) / 2)
    end = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    return whole + end


def blur_kernels(radii: Float64[np.ndarray, " views"]) -> Float64[np.ndarray, "views taps"]:
    """Three extended boxes in one.

    Args:
        radii: Of the boxes, at least one.

    Returns:
        One row a radius, with an odd number of taps, as many as the widest needs, and sum 1.
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
    """Each row with its own box."""
    taps = rows.shape[1]
    result = np.zeros((len(rows), taps + boxes.shape[1] - 1))
    for place, weights in enumerate(boxes.T):
        result[:, place : place + taps] += weights[:, None] * rows
    return result
