"""Convolution kernels equal to Pillow's Gaussian blur.

Pillow's ``GaussianBlur`` applies three extended box blurs in sequence: a box with a fraction of a pixel at each
end can have any variance, and three of them approximate a Gaussian (Gwosdek et al., Theoretical Foundations of
Gaussian Convolution by Extended Box Filtering, SSVM 2011). Here the three are one kernel, so values are rounded once
where Pillow rounds to 8 bits six times, which makes a difference of a quarter of a level in the mean.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float64

_BOXES = 3
_SIGMA_STEPS = 64  # standard deviations are rounded to 1/64 pixel, so that weights can be cached
WHOLE = 256  # sum of a kernel's whole weights: sums of bytes by them along both axes are exact in float32


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


def whole_weights(sigma: float) -> tuple[int, ...]:
    """Weights of one kernel in units of 1/256: the center's, then those outward, each of which counts on both sides.

    Their sum, both sides counted, is 256.

    Args:
        sigma: Standard deviation in pixels, from 0; rounded to 1/64.
    """
    return _whole_weights(round(sigma * _SIGMA_STEPS))


@functools.lru_cache(maxsize=4096)
def _whole_weights(steps: int) -> tuple[int, ...]:
    kernel = blur_kernels(box_radii(np.array([steps / _SIGMA_STEPS])))[0]
    outward = kernel[len(kernel) // 2 + 1 :]
    # Sums from the end inward are rounded, not the weights: else the errors of a wide kernel's ends would add up.
    beyond = np.rint(np.cumsum(outward[::-1])[::-1] * WHOLE)
    weights = (beyond - np.append(beyond[1:], 0)).astype(int).tolist()
    while weights and weights[-1] == 0:
        weights.pop()
    return (WHOLE - 2 * sum(weights), *weights)
