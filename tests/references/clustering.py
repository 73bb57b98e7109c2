"""SwAV's codes and DINO's distributions from their definitions in NumPy float64, one image and one view at a time."""

from __future__ import annotations

import numpy as np


def softmax(x: np.ndarray) -> np.ndarray:
    """Of one vector."""
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


def transport(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """Q* = Diag(u) exp(C^T Z / eps) Diag(v) of SwAV's Eq. 5, of shape (prototypes, rows), whose entries sum to 1.

    u and v alternately such that rows of Q sum to 1 / prototypes and columns to 1 / rows.

    Args:
        scores: Z^T C, of shape (rows, prototypes).
    """
    kernel = np.exp(np.asarray(scores, dtype=np.float64).T / epsilon)
    prototypes, rows = kernel.shape
    v = np.ones(rows)
    for _ in range(iterations):
        u = np.array([1 / prototypes / sum(kernel[k, b] * v[b] for b in range(rows)) for k in range(prototypes)])
        v = np.array([1 / rows / sum(kernel[k, b] * u[k] for k in range(prototypes)) for b in range(rows)])
    return u[:, None] * kernel * v[None, :]


def codes(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """One distribution over the prototypes for each row."""
    return transport(scores, epsilon, iterations).T * len(scores)


def swapped(targets: np.ndarray, probabilities: np.ndarray, groups: int) -> float:
    """Mean cross-entropy of views with the targets of other views of their image.

    Args:
        targets: (images, targets, classes), of the views of the first group.
        probabilities: (images, views, classes), of the views of all groups, those of the first group first.
        groups: number of groups; with one, a view predicts only the target of the other view of its pair.
    """
    terms = []
    for image in range(len(targets)):
        for target in range(targets.shape[1]):
            for view in range(probabilities.shape[1]):
                partner = target + 1 if target % 2 == 0 else target - 1
                if view == target or (groups == 1 and view != partner):
                    continue
                terms.append(-np.sum(targets[image, target] * np.log(probabilities[image, view])))
    return float(np.mean(terms))
