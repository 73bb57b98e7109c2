"""BYOL (arXiv 2006.07733) written out from its definition in NumPy float64."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from references.contrastive import unit
from references.networks import convolved, normed, relu


def regression(p: np.ndarray, t: np.ndarray) -> float:
    """Eq. 2: the squared distance of prediction and target projection, each divided by its length; mean of the rows."""
    return float(((unit(p) - unit(t)) ** 2).sum(axis=1).mean())


def momentum(base: float, step: int, steps: int) -> float:
    """Section 3.3: tau of a step."""
    return 1 - (1 - base) * (math.cos(math.pi * step / steps) + 1) / 2


def head(x: np.ndarray, weights: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Linear, batch normalization, ReLU, linear; the names are those of the layers in a sequence."""
    gain, shift = weights[f"{name}.layers.1.weight"], weights[f"{name}.layers.1.bias"]
    hidden = relu(normed(x @ weights[f"{name}.layers.0.weight"].T, gain, shift))
    return hidden @ weights[f"{name}.layers.3.weight"].T


def project(images: np.ndarray, weights: Mapping[str, np.ndarray], stride: int, prefix: str = "") -> np.ndarray:
    """z of images, by a backbone that is a single convolution."""
    network = f"{prefix}backbone.network"
    maps = convolved(images, weights[f"{network}.weight"], weights[f"{network}.bias"], stride)
    return head(maps.mean(axis=2), weights, f"{prefix}projector")


def loss(
    first: np.ndarray,
    second: np.ndarray,
    online: Mapping[str, np.ndarray],
    target: Mapping[str, np.ndarray],
    stride: int,
) -> float:
    """Loss of pairs of images; both directions are added."""
    total = 0.0
    for here, there in ((first, second), (second, first)):
        p = head(project(here, online, stride), online, "predictor")
        total += regression(p, project(there, target, stride, "target_"))
    return total
