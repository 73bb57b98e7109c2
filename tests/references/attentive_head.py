"""Attention pooling and the gradients of a linear head on it, written out in float64 from the definition."""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max())
    return exp / exp.sum()


def attend(maps: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pooled features (images, dim) and weights (images, queries, positions) of maps (images, dim, rows, columns)."""
    images, dim = maps.shape[:2]
    x = maps.reshape(images, dim, -1).astype(np.float64)
    width = dim // len(queries)
    pooled, weights = np.zeros((images, dim)), np.zeros((images, len(queries), x.shape[2]))
    for image in range(images):
        for m, query in enumerate(queries):
            weights[image, m] = softmax(np.array([query @ position for position in x[image].T]) / np.sqrt(dim))
            own = slice(m * width, (m + 1) * width)
            pooled[image, own] = sum(
                w * position[own] for w, position in zip(weights[image, m], x[image].T, strict=True)
            )
    return pooled, weights


def gradients(
    maps: np.ndarray, targets: np.ndarray, weight: np.ndarray, bias: np.ndarray, queries: np.ndarray
) -> tuple[float, dict[str, np.ndarray]]:
    """Mean binary cross-entropy, and its gradients by parameter."""
    images, dim = maps.shape[:2]
    x, width = maps.reshape(images, dim, -1).astype(np.float64), dim // len(queries)
    pooled, weights = attend(maps, queries)
    p = 1 / (1 + np.exp(-(pooled @ weight.T + bias)))
    loss = float(-(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean())
    by_logit = (p - targets) / p.size
    by_pooled, by_query = by_logit @ weight, np.zeros(queries.shape)
    for image in range(images):
        for m in range(len(queries)):
            own = slice(m * width, (m + 1) * width)
            by_weight = by_pooled[image, own] @ x[image, own]
            a = weights[image, m]
            by_score = a * (by_weight - a @ by_weight)
            by_query[m] += x[image] @ by_score / np.sqrt(dim)
    return loss, {"weight": by_logit.T @ pooled, "bias": by_logit.sum(0), "queries": by_query}
