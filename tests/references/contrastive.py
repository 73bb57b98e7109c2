"""The losses written out from their definitions in NumPy float64, one anchor and one pair of views at a time."""

from __future__ import annotations

import numpy as np


def unit(z: np.ndarray) -> np.ndarray:
    """Rows divided by their lengths."""
    z = np.asarray(z, dtype=np.float64)
    return z / np.sqrt((z**2).sum(1, keepdims=True))


def partners(ids: np.ndarray, i: int) -> tuple[list[int], list[int]]:
    """P(i) and A(i)."""
    everyone = [a for a in range(len(ids)) if a != i]
    return [a for a in everyone if ids[a] == ids[i]], everyone


def image_aware_terms(z: np.ndarray, ids: np.ndarray, temperature: float, form: str) -> np.ndarray:
    """L_i of every anchor."""
    z = unit(z)
    terms = []
    for i in range(len(z)):
        positives, everyone = partners(ids, i)
        above = sum(np.exp(z[i] @ z[p] / temperature) for p in positives)
        below = sum(np.exp(z[i] @ z[a] / temperature) for a in everyone)
        if form == "outside":
            terms.append(-np.log(above / below) / len(positives))
        elif form == "in":
            terms.append(-np.log(above / len(positives) / below))
        else:
            logs = [np.log(np.exp(z[i] @ z[p] / temperature) / below) for p in positives]
            terms.append(-sum(logs) / len(positives))
    return np.array(terms)


def anchor_gradient(z: np.ndarray, ids: np.ndarray, i: int, temperature: float) -> np.ndarray:
    """Second form of Eq. 2: the gradient of anchor i's own term of Eq. 1 in z_i."""
    positives, everyone = partners(ids, i)
    above, below = np.zeros(z.shape[1]), 0.0
    for p in positives:
        for a in everyone:
            product = np.exp(z[i] @ z[p] / temperature) * np.exp(z[i] @ z[a] / temperature)
            below += product
            if a not in positives:
                above += (z[p] - z[a]) * product
    return -above / below / (len(positives) * temperature)


def printed_anchor_gradient(z: np.ndarray, ids: np.ndarray, i: int, temperature: float) -> np.ndarray:
    """First form of Eq. 2, as it is printed."""
    positives, everyone = partners(ids, i)
    e = {a: np.exp(z[i] @ z[a] / temperature) for a in everyone}
    above = sum(z[p] * e[p] for p in positives) - sum(z[a] * e[a] for a in everyone)
    below = sum(e[p] for p in positives) * sum(e.values())
    return -above / below / (len(positives) * temperature)


def negative_cosine(p: np.ndarray, z: np.ndarray) -> float:
    """D(p, z) of SimSiam, mean over the rows."""
    return float(-np.mean([row @ other for row, other in zip(unit(p), unit(z), strict=True)]))


def similarity(p1: np.ndarray, z1: np.ndarray, p2: np.ndarray, z2: np.ndarray) -> float:
    """L_sim."""
    return negative_cosine(p1, z2) / 2 + negative_cosine(p2, z1) / 2


def image_aware(
    calls: list[tuple[np.ndarray, np.ndarray]],
    pair_ids: np.ndarray,
    order: np.ndarray,
    *,
    temperature: float,
    form: str = "outside",
    shards: int = 1,
) -> float:
    """L_ia of shuffled pairs: mean over the anchors of all shards, and over the calls."""
    means = []
    for u, v in calls:
        terms = [
            image_aware_terms(np.concatenate((u[part], v[part])), np.tile(pair_ids[part], 2), temperature, form)
            for part in np.array_split(order, shards)
        ]
        means.append(np.concatenate(terms).mean())
    return float(np.mean(means))
