"""Paired differences of mAP between networks measured on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from jaxtyping import Float64

from manyview.evaluation.metrics.average_precision import average_precisions, mean_over_classes, rank
from manyview.evaluation.metrics.bootstrap import Interval, Resampling
from manyview.evaluation.metrics.scores import LabeledScores
from manyview.runs.progress import Progress, no_progress


class MapDifference(TypedDict):
    """A difference of mAP, fractions of 1, and its 95 % interval over images; None without resamples."""

    mAP: float
    interval: Interval | None


def map_differences(
    scores: Mapping[str, Sequence[LabeledScores]],
    first: str,
    average_precision: str = "all_points",
    *,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress = no_progress,
) -> dict[str, MapDifference]:
    """Differences of one network's mAP to that of each other network, with paired bootstrap intervals.

    Every resample draws the same images for all networks, so that what makes a draw easy or hard for all of them
    cancels: the interval of the difference is narrower than those of the two figures suggest. It is
    ``Resampling.pivotal``, the basic bootstrap interval (Davison and Hinkley, 1997, Eq. 5.6), from -1 to 1.

    Args:
        scores: of the same images, by network; several of one network, such as those of several draws of the training
            images, count with their mean mAP, in each resample too.
        first: the network whose differences to the others are taken.
        average_precision: "all_points" or "voc07".
        resamples: their number; 0 for no intervals.
        seed: of the resamples, as in ``bootstrap``.
        progress: called with the resamples done.

    Returns:
        for each other network mAP(first) - mAP(other), and the interval; nan if no class has positives.
    """
    names = [name for name in scores if name != first]
    if not names:
        return {}
    rankings = {name: [rank(each) for each in own] for name, own in scores.items()}
    images = len(scores[first][0].scores)

    def measure(
        weights: Float64[np.ndarray, "images resamples"],
    ) -> dict[str, Float64[np.ndarray, " resamples"]]:
        return {
            name: np.mean([mean_over_classes(average_precisions(each, weights, average_precision)) for each in own], 0)
            for name, own in rankings.items()
        }

    actual = {name: float(values[0]) for name, values in measure(np.ones((images, 1))).items()}
    found: dict[str, MapDifference] = {name: {"mAP": actual[first] - actual[name], "interval": None} for name in names}
    if not resamples:
        return found
    resampling = Resampling(resamples, seed)
    blocks: list[dict[str, Float64[np.ndarray, " resamples"]]] = []
    done, phase = 0, "confidence intervals of the differences"
    progress(done, resamples, phase)
    for weights in resampling.weights(images):
        blocks.append(measure(weights))
        done += weights.shape[1]
        progress(done, resamples, phase)
    resampled = {name: np.concatenate([block[name] for block in blocks]) for name in rankings}
    for name in names:
        difference = resampled[first] - resampled[name]
        found[name]["interval"] = resampling.pivotal(difference, found[name]["mAP"], least=-1)
    return found
