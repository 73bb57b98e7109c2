"""Multi-label metrics from their definitions: plain loops over images and classes in Python's float64."""

from __future__ import annotations

import math
from collections.abc import Sequence


def average_precision(scores: Sequence[float], positives: Sequence[int]) -> float:
    """Mean over the positives of the share of positives among all images that score at least as much."""
    precisions = []
    for score, positive in zip(scores, positives, strict=True):
        if positive:
            ranked = [other for other, value in zip(positives, scores, strict=True) if value >= score]
            precisions.append(sum(ranked) / len(ranked))
    return sum(precisions) / len(precisions) if precisions else math.nan


def voc07_average_precision(scores: Sequence[float], positives: Sequence[int]) -> float:
    """Mean of the best precision at recall >= 0, .1, ..., 1, over every threshold that is a score."""
    total = sum(positives)
    if not total:
        return math.nan
    points = []
    for threshold in scores:
        ranked = [other for other, value in zip(positives, scores, strict=True) if value >= threshold]
        points.append((sum(ranked), sum(ranked) / len(ranked)))
    return sum(max(p for found, p in points if 10 * found >= tenth * total) for tenth in range(11)) / 11


def decisions(scores: Sequence[Sequence[float]], threshold: float, top_k: int | None = None) -> list[list[int]]:
    """1 where a class is predicted: at least the threshold and one of the first top_k by (score, order of class)."""
    rows = []
    for row in scores:
        best = sorted(range(len(row)), key=lambda c: (-row[c], c))[: len(row) if top_k is None else top_k]
        rows.append([int(score >= threshold and c in best) for c, score in enumerate(row)])
    return rows


def multilabel(
    scores: Sequence[Sequence[float]],
    targets: Sequence[Sequence[int]],
    threshold: float = 0.5,
    top_k: int | None = None,
) -> dict[str, float | list[float]]:
    """Every metric; a quotient with nothing to divide by is 0, AP without positives is nan and not averaged."""
    predicted = decisions(scores, threshold, top_k)
    classes = range(len(scores[0]))
    images = range(len(scores))
    n_correct = [sum(predicted[i][c] and targets[i][c] for i in images) for c in classes]
    n_predicted = [sum(predicted[i][c] for i in images) for c in classes]
    n_true = [sum(targets[i][c] for i in images) for c in classes]

    def ratio(numerator: float, denominator: float) -> float:
        return numerator / denominator if denominator else 0.0

    def harmonic(a: float, b: float) -> float:
        return ratio(2 * a * b, a + b)

    ap = [average_precision([row[c] for row in scores], [row[c] for row in targets]) for c in classes]
    defined = [value for value in ap if not math.isnan(value)]
    op, or_ = ratio(sum(n_correct), sum(n_predicted)), ratio(sum(n_correct), sum(n_true))
    cp = sum(ratio(n_correct[c], n_predicted[c]) for c in classes) / len(scores[0])
    cr = sum(ratio(n_correct[c], n_true[c]) for c in classes) / len(scores[0])
    return {
        "mAP": sum(defined) / len(defined) if defined else math.nan,
        "OP": op,
        "OR": or_,
        "OF1": harmonic(op, or_),
        "CP": cp,
        "CR": cr,
        "CF1": harmonic(cp, cr),
        "AP": ap,
    }
