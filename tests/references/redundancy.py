"""The losses of Barlow Twins and VICReg, and that of multi-label training, in NumPy float64, one entry at a time."""

from __future__ import annotations

import math

import numpy as np


def barlow_twins(first: np.ndarray, second: np.ndarray, weight: float, epsilon: float = 1e-5) -> tuple[float, float]:
    """The two sums of arXiv 2103.03230, Eqs. 1 and 2, with epsilon added to the variances; the second times lambda."""
    rows, dim = first.shape
    on = off = 0.0
    for i in range(dim):
        for j in range(dim):
            a, b = first[:, i] - first[:, i].mean(), second[:, j] - second[:, j].mean()
            lengths = np.sqrt((a**2).sum() + rows * epsilon) * np.sqrt((b**2).sum() + rows * epsilon)
            correlation = (a * b).sum() / lengths
            if i == j:
                on += (1 - correlation) ** 2
            else:
                off += weight * correlation**2
    return on, off


def vicreg(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """s, mean of v, sum of c (arXiv 2105.04906, Eqs. 1 to 5; s over rows and dimensions, as in the released code)."""
    rows, dim = first.shape
    s = sum((first[b, j] - second[b, j]) ** 2 for b in range(rows) for j in range(dim)) / (rows * dim)
    v = c = 0.0
    for z in (first, second):
        mean = z.mean(axis=0)
        for i in range(dim):
            deviation = math.sqrt(sum((z[b, i] - mean[i]) ** 2 for b in range(rows)) / (rows - 1) + 1e-4)
            v += max(0.0, 1 - deviation) / dim / 2
            for j in range(dim):
                if i != j:
                    entry = sum((z[b, i] - mean[i]) * (z[b, j] - mean[j]) for b in range(rows)) / (rows - 1)
                    c += entry**2 / dim
    return s, v, c


def known_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Binary cross-entropy, mean over the entries whose target is not NaN."""
    terms = []
    for x, y in zip(logits.ravel(), targets.ravel(), strict=True):
        if not math.isnan(y):
            p = 1 / (1 + math.exp(-x))
            terms.append(-math.log(p if y == 1 else 1 - p))
    return sum(terms) / len(terms)
