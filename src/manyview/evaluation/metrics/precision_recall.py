"""Precision, recall and F1 of decisions: of each class, overall, and as means over classes.

The definitions are those of ML-GCN (Chen et al., CVPR 2019), which the paper's tables follow. With, for class c,
Nc correct predictions, Np predictions and Ng ground-truth positives::

    OP = sum Nc / sum Np    OR = sum Nc / sum Ng    OF1 = 2 OP OR / (OP + OR)
    CP = mean (Nc / Np)     CR = mean (Nc / Ng)     CF1 = 2 CP CR / (CP + CR)

CF1 is the F1 of the averages CP and CR, not the mean of the classes' F1.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

from manyview.errors import UserError
from manyview.evaluation.metrics.scores import LabeledScores

OVERALL = ("OP", "OR", "OF1", "CP", "CR", "CF1")
PER_CLASS = ("precision", "recall", "f1")


def f1(precision: Float64[np.ndarray, "*any"], recall: Float64[np.ndarray, "*any"]) -> Float64[np.ndarray, "*any"]:
    """Harmonic mean of precision and recall; 0 where both are 0."""
    total = precision + recall
    return 2 * precision * recall / np.where(total > 0, total, 1)


def tallies(
    labelled: LabeledScores, decisions: Bool[np.ndarray, "images classes"]
) -> Float64[np.ndarray, "images 3 classes"]:
    """What each image adds to Nc, Np and Ng of each class: 0 or 1; ignored labels add nothing."""
    positives = labelled.positives
    return np.stack([decisions & positives, decisions & labelled.counted, positives], axis=1).astype(np.float64)


def precision_recall(
    counts: Float64[np.ndarray, "weightings 3 classes"], compatibility: str | None = None
) -> dict[str, Float64[np.ndarray, " weightings"] | Float64[np.ndarray, "weightings classes"]]:
    """The figures of OVERALL, one for each weighting of the images, and of PER_CLASS, one for each class, too.

    A quotient with nothing to divide by is 0.

    Args:
        counts: Nc, Np and Ng of each class: whole numbers.
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
