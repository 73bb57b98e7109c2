"""Layers, heads and gradients written out in NumPy float64, to follow a method's step by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Weights = dict[str, np.ndarray]
"""Arrays by name, as a module's parameters."""


def convolved(images: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """Convolution without padding: (rows, channels, height, width) to (rows, channels, positions)."""
    side = weight.shape[-1]
    places = [
        images[:, :, top : top + side, left : left + side]
        for top in range(0, images.shape[2] - side + 1, stride)
        for left in range(0, images.shape[3] - side + 1, stride)
    ]
    return np.stack([np.einsum("rchw,ochw->ro", place, weight) + bias for place in places], axis=2)


def normed(x: np.ndarray, gain: np.ndarray | float = 1.0, shift: np.ndarray | float = 0.0) -> np.ndarray:
    """Batch normalization by the statistics of the rows."""
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5) * gain + shift


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    return np.maximum(x, 0)


def numerical_gradients(
    loss: Callable[[Weights], float], weights: Mapping[str, np.ndarray], by: float = 1e-6
) -> Weights:
    """Central differences of a loss with respect to every element of every array."""
    gradients: Weights = {}
    for name, value in weights.items():
        gradient = np.zeros(value.shape)
        for index in np.ndindex(*value.shape):
            change = np.zeros(value.shape)
            change[index] = by
            above, below = (loss({**weights, name: value + sign * change}) for sign in (1, -1))
            gradient[index] = (above - below) / (2 * by)
        gradients[name] = gradient
    return gradients
