"""Multi-label metrics from their definitions, in plain loops of Python's float64, and cases to try them on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from statistics import NormalDist

import numpy as np

Rows = Sequence[Sequence[float]]


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and targets of random shape; every second case has many ties, every third a class without positives."""
    rng = np.random.default_rng(seed)
    images, classes = int(rng.integers(1, 40)), int(rng.integers(1, 8))
    scores = rng.random((images, classes))
    if seed % 2:
        scores = np.round(scores * 5) / 5
    targets = (rng.random((images, classes)) < rng.uniform(0.05, 0.9)).astype(np.uint8)
    if seed % 3 == 0:
        targets[:, 0] = 0
    return scores, targets


def random_ignored(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Some labels to ignore; in every fourth case all of the last class."""
    rng = np.random.default_rng([seed, 1])
    ignored = (rng.random(shape) < rng.uniform(0, 0.6)).astype(np.uint8)
    if seed % 4 == 0:
        ignored[:, -1] = 1
    return ignored


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


def decisions(scores: Rows, threshold: float | Sequence[float], top_k: int | None = None) -> list[list[int]]:
    """1 where a class is predicted: at least the threshold and one of the first top_k by (score, order of class)."""
    rows = []
    for row in scores:
        thresholds = [threshold] * len(row) if isinstance(threshold, float | int) else threshold
        best = sorted(range(len(row)), key=lambda c: (-row[c], c))[: len(row) if top_k is None else top_k]
        rows.append([int(row[c] >= thresholds[c] and c in best) for c in range(len(row))])
    return rows


def multilabel(
    scores: Rows,
    targets: Sequence[Sequence[int]],
    threshold: float | Sequence[float] = 0.5,
    top_k: int | None = None,
    *,
    ignored: Sequence[Sequence[int]] | None = None,
    ap: str = "all_points",
    ml_gcn: bool = False,
) -> dict[str, float | list[float]]:
    """Every metric; a quotient with nothing to divide by is 0, AP without positives is nan and not averaged."""
    predicted = decisions(scores, threshold, top_k)
    classes = range(len(scores[0]))
    kept = [[i for i in range(len(scores)) if ignored is None or not ignored[i][c]] for c in classes]
    n_correct = [sum(predicted[i][c] and targets[i][c] for i in kept[c]) for c in classes]
    n_predicted = [sum(predicted[i][c] for i in kept[c]) for c in classes]
    n_true = [sum(targets[i][c] for i in kept[c]) for c in classes]
    if ml_gcn:
        n_predicted = [n or 1 for n in n_predicted]

    def ratio(numerator: float, denominator: float) -> float:
        return numerator / denominator if denominator else 0.0

    def harmonic(a: float, b: float) -> float:
        return ratio(2 * a * b, a + b)

    measure = {"all_points": average_precision, "voc07": voc07_average_precision}[ap]
    aps = [measure([scores[i][c] for i in kept[c]], [targets[i][c] for i in kept[c]]) for c in classes]
    defined = [value for value in aps if not math.isnan(value)]
    op, or_ = ratio(sum(n_correct), sum(n_predicted)), ratio(sum(n_correct), sum(n_true))
    precision = [ratio(n_correct[c], n_predicted[c]) for c in classes]
    recall = [ratio(n_correct[c], n_true[c]) for c in classes]
    cp, cr = sum(precision) / len(classes), sum(recall) / len(classes)
    return {
        "mAP": sum(defined) / len(defined) if defined else math.nan,
        "OP": op,
        "OR": or_,
        "OF1": harmonic(op, or_),
        "CP": cp,
        "CR": cr,
        "CF1": harmonic(cp, cr),
        "AP": aps,
        "precision": precision,
        "recall": recall,
        "f1": [harmonic(p, r) for p, r in zip(precision, recall, strict=True)],
    }


def exact_f1(scores: Sequence[float], positives: Sequence[int], threshold: float) -> Fraction:
    """F1 of one class at a threshold, without rounding; 0 where nothing is predicted and nothing is positive."""
    predicted = [score >= threshold for score in scores]
    correct = sum(p and t for p, t in zip(predicted, positives, strict=True))
    chosen = sum(predicted) + sum(positives)
    return Fraction(2 * int(correct), int(chosen)) if chosen else Fraction(0)


def best_threshold(scores: Sequence[float], positives: Sequence[int]) -> float:
    """The middle of the highest interval between neighboring scores at which F1 is best; .5 without positives."""
    if not any(positives):
        return 0.5
    levels = sorted({0.0, *scores})
    f1_of = {level: exact_f1(scores, positives, level) for level in set(scores)}
    upper = max(level for level, value in f1_of.items() if value == max(f1_of.values()))
    below = [level for level in levels if level < upper]
    return (upper + below[-1]) / 2 if below else upper


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies, interpolated between its two neighbours; nan left out."""
    ordered = sorted(value for value in values if not math.isnan(value))
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def bias_corrected(values: Sequence[float], figure: float, confidence: float) -> tuple[float, float]:
    """Efron's bias-corrected percentile interval of resampled values, from its definition."""
    defined = [value for value in values if not math.isnan(value)]
    if not defined or math.isnan(figure):
        return math.nan, math.nan
    ties = sum(abs(value - figure) < 1e-9 for value in defined)
    below = (sum(value < figure - 1e-9 for value in defined) + ties / 2) / len(defined)
    least = 1 / (len(defined) + 1)
    below = min(max(below, least), 1 - least)
    normal = NormalDist()
    z0, z = normal.inv_cdf(below), normal.inv_cdf(0.5 + confidence / 2)
    return quantile(defined, normal.cdf(2 * z0 - z)), quantile(defined, normal.cdf(2 * z0 + z))


def basic(values: Sequence[float], figure: float, confidence: float) -> tuple[float, float]:
    """Davison and Hinkley's basic bootstrap interval, within 0 and 1, from its definition."""
    defined = sorted(value for value in values if not math.isnan(value))
    if not defined or math.isnan(figure):
        return math.nan, math.nan

    def quantile(share: float) -> float:
        place = share * (len(defined) - 1)
        below, part = int(place), place - int(place)
        return defined[below] + part * (defined[min(below + 1, len(defined) - 1)] - defined[below])

    ends = (2 * figure - quantile((1 + confidence) / 2), 2 * figure - quantile((1 - confidence) / 2))
    low, high = (min(max(end, 0.0), 1.0) for end in ends)
    return low, high
