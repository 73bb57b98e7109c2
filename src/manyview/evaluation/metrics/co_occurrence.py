"""Predictions of absent classes by what an image shows instead: which classes are taken for their companions."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from jaxtyping import Bool, Float64

from manyview.evaluation.metrics.scores import LabeledScores

MOST_CLASSES = 120
"""Of more classes the table would be larger than all other figures together."""


class FalsePredictions(TypedDict):
    """Shares of false predictions, fractions of 1; None where there is no such image.

    Attributes:
        beside: for each class i a row: of the images that show i but not j, the share in which j is predicted; None on
            the diagonal.
        overall: for each class j, of the images that do not show it, the share in which it is predicted.
    """

    beside: list[list[float | None]]
    overall: list[float | None]


def false_predictions(labeled: LabeledScores, predicted: Bool[np.ndarray, "images classes"]) -> FalsePredictions:
    """Count how often an absent class is predicted, given what an image shows.

    Classes that occur together in training, such as forks and knives, are predicted together too. Where the share
    beside a class is far above the overall one, the classifier has learned the company of the class, not its looks.

    Args:
        labeled: labels of the images; ignored ones count neither as present nor as absent.
        predicted: decisions of a rule.
    """
    absent = (labeled.counted & ~labeled.positives).astype(np.float64)
    wrong, shown = predicted * absent, labeled.positives.astype(np.float64)
    beside = _share(shown.T @ wrong, shown.T @ absent)
    np.fill_diagonal(beside, np.nan)
    return {"beside": [_plain(row) for row in beside], "overall": _plain(_share(wrong.sum(0), absent.sum(0)))}


def _plain(shares: Float64[np.ndarray, " classes"]) -> list[float | None]:
    return [None if np.isnan(share) else round(float(share), 4) for share in shares]


def _share(part: Float64[np.ndarray, "*any"], whole: Float64[np.ndarray, "*any"]) -> Float64[np.ndarray, "*any"]:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
