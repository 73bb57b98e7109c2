"""Average precision under any number of weightings of the images at once.

A weighting counts each image a whole number of times: once for the figure itself, or as often as a bootstrap resample
drew it. The images are ranked once for all weightings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, Shaped

from manyview.errors import UserError
from manyview.evaluation.metrics.scores import LabeledScores


@dataclass(frozen=True, slots=True)
class Ranking:
    """The images of one class, best score first, cut into one segment for each distinct score of a positive.

    A segment ends with the last image of that score, and so also holds the negatives above it. Images that score less
    than every positive are left out, as average precision does not depend on them.

    Attributes:
        images: indices of the images, best first.
        starts: index into ``images`` of the start of each segment.
        positives: indices of the positives, best first.
        positive_starts: index into ``positives`` of the start of each segment.
    """

    images: Int[np.ndarray, " images"]
    starts: Int[np.ndarray, " segments"]
    positives: Int[np.ndarray, " positives"]
    positive_starts: Int[np.ndarray, " segments"]

    @classmethod
    def of(
        cls,
        scores: Shaped[np.ndarray, " images"],
        positive: Bool[np.ndarray, " images"],
        counted: Bool[np.ndarray, " images"],
    ) -> Ranking:
        """Rank the counted images by score."""
        images = np.flatnonzero(counted)
        images = images[np.argsort(-scores[images], kind="stable")]
        ranks = np.flatnonzero(positive[images])
        ordered = -scores[images]
        levels = ordered[ranks]
        new_level = np.ones(len(ranks), dtype=bool)
        new_level[1:] = levels[1:] != levels[:-1]
        ends = np.searchsorted(ordered, levels[new_level], side="right")
        return cls(
            images=images[: ends[-1]] if len(ends) else images[:0],
            starts=np.concatenate(([0], ends))[:-1],
            positives=images[ranks],
            positive_starts=np.flatnonzero(new_level),
        )

    def counts(
        self, weights: Float64[np.ndarray, "all_images weightings"]
    ) -> tuple[Float64[np.ndarray, "segments weightings"], Float64[np.ndarray, "segments weightings"]]:
        """Positives and images from the best image to the end of each segment."""
        found = np.add.reduceat(weights[self.positives], self.positive_starts, axis=0)
        seen = np.add.reduceat(weights[self.images], self.starts, axis=0)
        return np.cumsum(found, axis=0), np.cumsum(seen, axis=0)


def rank(labeled: LabeledScores) -> list[Ranking]:
    """The ranking of each class."""
    columns = zip(labeled.scores.T, labeled.positives.T, labeled.counted.T, strict=True)
    return [Ranking.of(*column) for column in columns]


def average_precisions(
    rankings: Sequence[Ranking], weights: Float64[np.ndarray, "images weightings"], form: str = "all_points"
) -> Float64[np.ndarray, "weightings classes"]:
    """AP of each class under each weighting; nan where the class has no positive.

    Args:
        rankings: of each class.
        weights: how often each image counts: whole numbers, 0 or more.
        form: "all_points" or "voc07".

    Raises:
        UserError: if the form is unknown.
    """
    measures: dict[str, Callable[..., Float64[np.ndarray, " weightings"]]] = {
        "all_points": all_points,
        "voc07": voc07,
    }
    if form not in measures:
        raise UserError(f'average_precision is "all_points" or "voc07", not {form!r}')
    result = np.full((weights.shape[1], len(rankings)), np.nan)
    for column, ranking in enumerate(rankings):
        if len(ranking.positives):
            found, seen = ranking.counts(weights)
            # If the resample drew none of these images, it found no positive either: the quotient is 0.
            precision = found / np.maximum(seen, 1)
            result[:, column] = np.where(found[-1] > 0, measures[form](found, precision), np.nan)
    return result


def all_points(
    found: Float64[np.ndarray, "segments weightings"], precision: Float64[np.ndarray, "segments weightings"]
) -> Float64[np.ndarray, " weightings"]:
    """Mean over the positives of the precision at their rank; 0 where there is no positive."""
    return np.sum(np.diff(found, axis=0, prepend=0) * precision, axis=0) / np.maximum(found[-1], 1)


def voc07(
    found: Float64[np.ndarray, "segments weightings"], precision: Float64[np.ndarray, "segments weightings"]
) -> Float64[np.ndarray, " weightings"]:
    """Mean of the best precision at recall of at least 0, .1, ..., 1 (the VOC 2007 development kit)."""
    # Recall is compared in whole numbers: 3 of 10 positives must count as recall .3.
    points = [np.where(10 * found >= tenth * found[-1], precision, 0).max(axis=0) for tenth in range(11)]
    return np.mean(points, axis=0)


def mean_over_classes(ap: Float64[np.ndarray, "weightings classes"]) -> Float64[np.ndarray, " weightings"]:
    """Mean over the classes that have an AP (mAP); nan if none has."""
    defined = ~np.isnan(ap)
    count = defined.sum(axis=1)
    return np.where(defined, ap, 0).sum(axis=1) / np.where(count > 0, count, np.nan)
