"""Decisions: when a class counts as predicted, and precision, recall and F1 of decisions per class and overall.

The definitions are those of ML-GCN (Chen et al., CVPR 2019), which the paper's tables follow. With, for class c, Nc
correct predictions, Np predictions and Ng ground-truth positives::

    OP = sum Nc / sum Np    OR = sum Nc / sum Ng    OF1 = 2 OP OR / (OP + OR)
    CP = mean (Nc / Np)     CR = mean (Nc / Ng)     CF1 = 2 CP CR / (CP + CR)

CF1 is the F1 of the averages CP and CR, not the mean of the classes' F1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from manyview.errors import UserError
from manyview.evaluation.metrics.scores import LabeledScores, Matrix, Vector, as_array

Threshold = float | int | Vector

OVERALL = ("OP", "OR", "OF1", "CP", "CR", "CF1")
PER_CLASS = ("precision", "recall", "f1")

FALLBACK_THRESHOLD = 0.5
"""The threshold of a class without positives in the training split."""

LOGIT_THRESHOLD = 1 / (1 + math.exp(-0.6))
"""The probability whose logit is .6, about .646: the threshold of the authors' code."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Decision rule: when a class counts as predicted.

    Attributes:
        threshold: minimum probability: one number, or one for each class; compared in the scores' own precision, so
            that .7 in float32 reaches a threshold of .7.
        top_k: if given, the class must *also* be among the image's top_k probabilities; of equal ones, the first in
            order of class.
    """

    threshold: Threshold = 0.5
    top_k: int | None = None

    def decide(self, labeled: LabeledScores) -> Bool[np.ndarray, "images classes"]:
        """Which classes are predicted. The scores alone decide, also where a label is ignored.

        Raises:
            UserError: if threshold or top_k is out of range, or the number of thresholds is not that of classes.
        """
        scores = labeled.scores
        over: Bool[np.ndarray, "images classes"] = scores >= self._thresholds(scores.shape[1]).astype(scores.dtype)
        if self.top_k is None:
            return over
        if not 1 <= self.top_k <= scores.shape[1]:
            raise UserError(f"top_k must be from 1 to the number of classes, {scores.shape[1]}, not {self.top_k}")
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.top_k]
        among_best = np.zeros_like(over)
        np.put_along_axis(among_best, best, True, axis=1)
        return over & among_best

    def describe(self) -> dict[str, Any]:
        """The rule as plain data."""
        return {"threshold": as_array(self.threshold).tolist(), "top_k": self.top_k}

    def _thresholds(self, classes: int) -> Float64[np.ndarray, ""] | Float64[np.ndarray, " classes"]:
        thresholds = as_array(self.threshold).astype(np.float64)
        if thresholds.shape not in ((), (classes,)):
            raise UserError(
                f"threshold has the shape {thresholds.shape} where there are {classes} classes: "
                "give one number, or one for each class"
            )
        in_range = (thresholds >= 0) & (thresholds <= 1)
        if not in_range.all():
            raise UserError(f"threshold is a probability from 0 to 1, not {thresholds[~in_range].flat[0]:g}")
        return thresholds


def best_thresholds(scores: Matrix, targets: Matrix, ignored: Matrix | None = None) -> Float64[np.ndarray, " classes"]:
    """The threshold of each class that maximizes its F1 on the training split.

    All thresholds between two neighboring scores give the same decisions on that split: the midpoint is taken (below
    the lowest score: the midpoint of it and 0). Of several equally good intervals the highest is taken, which predicts
    least. A class without positives, whose F1 is always 0, gets FALLBACK_THRESHOLD, .5.

    Args:
        scores: probabilities (images, classes) in [0, 1], array or tensor on any device.
        targets: 0 or 1, of the same shape.
        ignored: 1 where a label counts neither as positive nor as negative, of the same shape; None for no such label.

    Returns:
        one threshold for each class, exact in the scores' own precision.

    Raises:
        UserError: as for ``multilabel_metrics``.
    """
    labeled = LabeledScores.check(scores, targets, ignored)
    columns = zip(labeled.scores.T, labeled.positives.T, labeled.counted.T, strict=True)
    return np.array([_best_threshold(own[counted], positive[counted]) for own, positive, counted in columns])


def _best_threshold(scores: Shaped[np.ndarray, " images"], positives: Bool[np.ndarray, " images"]) -> float:
    """The midpoint of the highest interval of thresholds with the best F1."""
    if not positives.any():
        return FALLBACK_THRESHOLD
    levels, level = np.unique(-scores, return_inverse=True)  # best first
    found = np.cumsum(np.bincount(level, weights=positives))
    seen = np.cumsum(np.bincount(level))
    # Counts are integers, so equal F1s are equal to the bit, and the first belongs to the highest threshold.
    best = int(np.argmax(2 * found / (seen + found[-1])))
    upper = -levels[best]
    lower = -levels[best + 1] if best + 1 < len(levels) else 0 * upper
    middle = lower + (upper - lower) / 2
    # Between adjacent numbers of the scores' precision there is none, and the midpoint may round down.
    return float(middle if middle > lower else upper)


def f1(precision: Float64[np.ndarray, "*any"], recall: Float64[np.ndarray, "*any"]) -> Float64[np.ndarray, "*any"]:
    """Harmonic mean of precision and recall; 0 where both are 0."""
    total = precision + recall
    return 2 * precision * recall / np.where(total > 0, total, 1)


def tallies(
    labeled: LabeledScores, decisions: Bool[np.ndarray, "images classes"]
) -> Float64[np.ndarray, "images 3 classes"]:
    """Contribution (0 or 1) of each image to Nc, Np and Ng of each class; ignored labels add nothing."""
    positives = labeled.positives
    return np.stack([decisions & positives, decisions & labeled.counted, positives], axis=1).astype(np.float64)


def precision_recall(
    counts: Float64[np.ndarray, "weightings 3 classes"], compatibility: str | None = None
) -> dict[str, Float64[np.ndarray, " weightings"] | Float64[np.ndarray, "weightings classes"]]:
    """The metrics of OVERALL for each weighting of the images, and of PER_CLASS also for each class.

    A quotient with denominator 0 is 0.

    Args:
        counts: Nc, Np and Ng of each class, whole numbers.
        compatibility: "ml-gcn" sets Np = 0 to 1, which adds to OP's denominator.

    Raises:
        UserError: if the compatibility is unknown.
    """
    if compatibility not in (None, "ml-gcn"):
        raise UserError(f'compatibility is None or "ml-gcn", not {compatibility!r}')
    correct, predicted, true = np.moveaxis(counts, 1, 0)
    if compatibility == "ml-gcn":
        predicted = np.maximum(predicted, 1)
    op, or_ = (correct.sum(1) / np.maximum(count.sum(1), 1) for count in (predicted, true))
    precision, recall = (correct / np.maximum(count, 1) for count in (predicted, true))
    cp, cr = precision.mean(1), recall.mean(1)
    overall = (op, or_, f1(op, or_), cp, cr, f1(cp, cr))
    per_class = (precision, recall, f1(precision, recall))
    return dict(zip(OVERALL + PER_CLASS, overall + per_class, strict=True))
