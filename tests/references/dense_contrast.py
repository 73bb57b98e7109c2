"""DenseCL (arXiv 2011.09157) written out from its definition in NumPy float64, one image and position at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from references.contrastive import unit
from references.networks import convolved, relu


def info_nce(query: np.ndarray, key: np.ndarray, queue: np.ndarray, temperature: float) -> float:
    """-log of the softmax of a query's own key among the queue's; vectors of length 1 (Eq. 1)."""
    own = np.exp(query @ key / temperature)
    return float(-np.log(own / (own + np.exp(queue @ query / temperature).sum())))


def matches(features: np.ndarray, key_features: np.ndarray) -> list[int]:
    """Eq. 4: for each position of (positions, channels), the most similar one of the key."""
    found = []
    for f in features:
        cosines = key_features @ f / np.linalg.norm(f) / np.linalg.norm(key_features, axis=1)
        found.append(int(np.argmax(cosines)))
    return found


def dense_loss(r: np.ndarray, t: np.ndarray, matched: list[int], queue: np.ndarray, temperature: float) -> float:
    """Eq. 2 of one image: its dense vectors and its key's, (positions, dim) each, not yet normalized."""
    r, t = unit(r), unit(t)
    return float(np.mean([info_nce(r[s], t[matched[s]], queue, temperature) for s in range(len(r))]))


def pooled(maps: np.ndarray, side: int, grid: int) -> np.ndarray:
    """Maps (rows, channels, side * side) averaged in equal cells: (rows, channels, grid * grid)."""
    cells = maps.reshape(*maps.shape[:2], grid, side // grid, grid, side // grid)
    return cells.mean(axis=(3, 5)).reshape(*maps.shape[:2], grid * grid)


def encode(
    images: np.ndarray, weights: Mapping[str, np.ndarray], stride: int, prefix: str = "", grid: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Global vectors (rows, dim), dense vectors (rows, positions, dim) and features (rows, positions, channels)."""
    network = f"{prefix}backbone.network"
    maps = convolved(images, weights[f"{network}.weight"], weights[f"{network}.bias"], stride)
    name = f"{prefix}projector.layers"
    hidden = relu(maps.mean(axis=2) @ weights[f"{name}.0.weight"].T + weights[f"{name}.0.bias"])
    vectors = hidden @ weights[f"{name}.2.weight"].T + weights[f"{name}.2.bias"]
    if grid is not None:
        maps = pooled(maps, round(maps.shape[2] ** 0.5), grid)
    features, name = maps.transpose(0, 2, 1), f"{prefix}dense_projector"
    hidden = relu(features @ weights[f"{name}.0.weight"][:, :, 0, 0].T + weights[f"{name}.0.bias"])
    return vectors, hidden @ weights[f"{name}.2.weight"][:, :, 0, 0].T + weights[f"{name}.2.bias"], features


def losses(
    query: tuple[np.ndarray, np.ndarray, np.ndarray],
    key: tuple[np.ndarray, np.ndarray, np.ndarray],
    queues: tuple[np.ndarray, np.ndarray],
    temperature: float,
) -> tuple[float, float]:
    """L_q and L_r, means over the images."""
    (q, r, f), (k, t, f_key) = query, key
    q, k = unit(q), unit(k)
    of_images = [
        (
            info_nce(q[i], k[i], queues[0], temperature),
            dense_loss(r[i], t[i], matches(f[i], f_key[i]), queues[1], temperature),
        )
        for i in range(len(q))
    ]
    l_q, l_r = np.mean(of_images, axis=0)
    return float(l_q), float(l_r)
