"""Multi-label metrics: average precision, and precision, recall and F1 overall and per class (paper Section 4.1).

The definitions are those of ML-GCN (Chen et al., CVPR 2019), which the paper's tables follow. With, for class c,
Nc correct predictions, Np predictions and Ng ground-truth positives::

    OP = sum Nc / sum Np    OR = sum Nc / sum Ng    OF1 = 2 OP OR / (OP + OR)
    CP = mean (Nc / Np)     CR = mean (Nc / Ng)     CF1 = 2 CP CR / (CP + CR)

CF1 is the F1 of the averages CP and CR, not the mean of the classes' F1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float64, Shaped
from torch import Tensor

from manyview.errors import UserError

AveragePrecision = Literal["all_points", "voc07"]

# Rows of numbers are accepted as they are; the shapes are checked by _checked, whose errors speak to the user.
AnyArray = Shaped[np.ndarray, "..."]
Matrix = AnyArray | Shaped[Tensor, "..."] | Sequence[Sequence[float | int]]


def multilabel_metrics(
    scores: Matrix,
    targets: Matrix,
    threshold: float | int = 0.5,
    top_k: int | None = None,
    *,
    average_precision: AveragePrecision = "all_points",
    compatibility: Literal["ml-gcn"] | None = None,
) -> dict[str, Any]:
    """Metrics of multi-label predictions, as fractions of 1.

    Where a quotient has nothing to divide by it counts as 0: OP when nothing is predicted, OR when nothing is
    positive, the term of a class never predicted in CP and of a class without positives in CR, F1 when precision and
    recall are both 0. The AP of a class without positives is undefined: nan in "AP", and left out of "mAP" (nan too if
    no class has positives).

    Args:
        scores: probabilities (images, classes) in [0, 1], array or tensor on any device.
        targets: 0 or 1, of the same shape.
        threshold: a class is predicted where its probability is at least this (compared in the scores' own precision).
        top_k: if given, a class is predicted only where it is *also* among the image's top_k probabilities; of equal
            ones, the first in order of class.
        average_precision: "all_points", the mean over positives of the precision at the positive's rank, where equal
            scores share the last of their ranks (so the value does not depend on the order of images, and equals
            scikit-learn's); or "voc07", the mean of the best precision at recall 0, .1, ..., 1 or above.
        compatibility: "ml-gcn" reproduces the published ML-GCN evaluation code, which sets Np = 0 to 1 and so adds 1
            to OP's denominator for every class that is never predicted.

    Returns:
        "mAP", "OP", "OR", "OF1", "CP", "CR", "CF1": floats; "AP": a list of floats in order of class.

    Raises:
        UserError: if the shapes differ or are not (images, classes) with at least one of each, if a score is outside
            [0, 1], if a target is neither 0 nor 1, if threshold or top_k is out of range.
    """
    probabilities, positives = _checked(scores, targets)
    predictions = _predictions(probabilities, threshold, top_k)
    measure = {"all_points": _all_points, "voc07": _voc07}.get(average_precision)
    if measure is None:
        raise UserError(f'average_precision is "all_points" or "voc07", not {average_precision!r}')
    if compatibility not in (None, "ml-gcn"):
        raise UserError(f'compatibility is None or "ml-gcn", not {compatibility!r}')
    ap = [
        measure(*_ranked_counts(probabilities[:, c].astype(np.float64), positives[:, c]))
        if positives[:, c].any()
        else float("nan")
        for c in range(positives.shape[1])
    ]
    defined = [value for value in ap if not np.isnan(value)]
    mean = float(np.mean(defined)) if defined else float("nan")
    return {"mAP": mean, **_precision_recall(predictions, positives, compatibility == "ml-gcn"), "AP": ap}


def f1(precision: float, recall: float) -> float:
    """Harmonic mean of precision and recall; 0 where both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _precision_recall(
    predictions: Bool[np.ndarray, "images classes"], positives: Bool[np.ndarray, "images classes"], ml_gcn: bool
) -> dict[str, float]:
    """OP, OR, OF1, CP, CR and CF1 from decisions."""
    correct = (predictions & positives).sum(0).astype(np.float64)  # Nc
    predicted = predictions.sum(0).astype(np.float64)  # Np
    true = positives.sum(0).astype(np.float64)  # Ng
    if ml_gcn:
        predicted[predicted == 0] = 1
    op, or_ = (float(correct.sum() / max(count.sum(), 1)) for count in (predicted, true))
    cp, cr = (float(np.mean(correct / np.maximum(count, 1))) for count in (predicted, true))
    return {"OP": op, "OR": or_, "OF1": f1(op, or_), "CP": cp, "CR": cr, "CF1": f1(cp, cr)}


def _ranked_counts(
    scores: Float64[np.ndarray, " images"], positives: Bool[np.ndarray, " images"]
) -> tuple[Float64[np.ndarray, " ranks"], Float64[np.ndarray, " ranks"]]:
    """Positives among, and number of, the images that score at least as much as each distinct score, best first."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_ties = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(scores) - 1)
    found = np.cumsum(positives[order])[last_of_ties]
    return found.astype(np.float64), (last_of_ties + 1).astype(np.float64)


def _all_points(found: Float64[np.ndarray, " ranks"], seen: Float64[np.ndarray, " ranks"]) -> float:
    """Mean over the positives of the precision at their rank."""
    return float(np.sum(np.diff(found, prepend=0) * found / seen) / found[-1])


def _voc07(found: Float64[np.ndarray, " ranks"], seen: Float64[np.ndarray, " ranks"]) -> float:
    """Mean of the best precision at recall of at least 0, .1, ..., 1 (the VOC 2007 development kit)."""
    precision = found / seen
    # Recall is compared in whole numbers: 3 of 10 positives must count as recall .3.
    return float(np.mean([precision[10 * found >= tenth * found[-1]].max() for tenth in range(11)]))


def _predictions(
    probabilities: Shaped[np.ndarray, "images classes"], threshold: float | int, top_k: int | None
) -> Bool[np.ndarray, "images classes"]:
    """Which classes are predicted: over the threshold and, with top_k, among the image's best."""
    if not 0 <= threshold <= 1:
        raise UserError(f"threshold is a probability from 0 to 1, not {threshold}")
    predictions: Bool[np.ndarray, "images classes"] = probabilities >= float(threshold)  # in the scores' precision
    if top_k is None:
        return predictions
    classes = probabilities.shape[1]
    if not 1 <= top_k <= classes:
        raise UserError(f"top_k must be from 1 to the number of classes, {classes}, not {top_k}")
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    among_best = np.zeros_like(predictions)
    np.put_along_axis(among_best, best, True, axis=1)
    return np.logical_and(predictions, among_best)


def _checked(
    scores: Matrix, targets: Matrix
) -> tuple[Shaped[np.ndarray, "images classes"], Bool[np.ndarray, "images classes"]]:
    """Both as arrays, scores in their own float type, or an error that says what is wrong with them."""
    values, truth = _as_array(scores), _as_array(targets)
    if values.ndim != 2 or truth.ndim != 2 or 0 in values.shape:
        raise UserError(
            "scores and targets must both have the shape (images, classes) with at least one of each, "
            f"not {values.shape} and {truth.shape}"
        )
    if values.shape != truth.shape:
        raise UserError(f"scores have the shape {values.shape}, but targets {truth.shape}: they must be equal")
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    in_range = (values >= 0) & (values <= 1)
    if not in_range.all():
        raise UserError(
            f"scores must be probabilities from 0 to 1, but one is {values[~in_range][0]:g}: "
            "apply a sigmoid to logits first"
        )
    is_label = (truth == 0) | (truth == 1)
    if not is_label.all():
        raise UserError(f"targets must be 0 or 1, but one is {truth[~is_label][0]}")
    return values, truth.astype(bool)


def _as_array(values: Matrix) -> AnyArray:
    """NumPy's view of an array, a tensor (bfloat16 as float32, which holds it exactly) or rows of numbers."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return values.float().numpy() if values.dtype == torch.bfloat16 else values.numpy()
    return np.asarray(values)
