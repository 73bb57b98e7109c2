"""Pascal VOC's average precision (VOC 2007 development kit, section 3.4.1), with Detectron2's means over IoUs.

http://host.robots.ox.ac.uk/pascal/VOC/voc2007/devkit_doc_07-Jun-2007.pdf
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from manyview.errors import UserError
from manyview.labels import DetectionLabels
from manyview.labels.identifiers import Identifier

Points = Literal["11", "all"]

_PERCENTS = range(50, 100, 5)  # of intersection over union
_EVERY = 10  # tenths of recall


class _Truth(NamedTuple):
    """The objects of one class in one image."""

    boxes: Float64[np.ndarray, "objects 4"]
    ignored: Bool[np.ndarray, " objects"]


def voc_average_precision(
    labels: DetectionLabels, results: Sequence[Mapping[str, Any]], points: Points = "11"
) -> dict[str, Any]:
    """VOC's average precision at an IoU of .5, and as in Detectron2 at .75 and over .5 to .95.

    Results of a class are matched in descending order of score, each to the object of its image with which its IoU is
    highest. A result is a true positive if that IoU reaches the threshold and no better result was one with the same
    object, and is ignored if it matches a difficult object or a crowd. VOC's boxes include their last pixel; here they
    end at its edge, which gives the same IoU. Results of equal scores count in the order given. Detectron2 requires
    more than the threshold, and rounds scores to three digits and boxes to a tenth of a pixel, which is not done here.

    Args:
        labels: the ground truth.
        results: entries with ``image_id``, ``category_id``, ``bbox`` and ``score``, as COCO's result files have them.
        points: "11" for the mean of the best precision at recall of at least 0, .1, ..., 1 (VOC 2007), "all" for the
            area under the best precision at each recall (VOC 2010 and later).

    Returns:
        "AP" (mean over the IoUs .5, .55, ..., .95), "AP50", "AP75": means over the classes with objects that count;
        "AP50_by_class": of each class, nan where there is no such object. Fractions of 1.

    Raises:
        UserError: ``points`` is neither.
    """
    if points not in ("11", "all"):
        raise UserError(f"points must be '11' or 'all', not {points!r}")
    truths, found = _truths(labels), _found(labels, results)
    table = np.array(
        [_of_class(truths[category], found[category], points) for category in labels.category_ids], dtype=np.float64
    ).reshape(-1, len(_PERCENTS))
    means = _mean_over_classes(table)
    return {
        "AP": float(means.mean()),
        "AP50": float(means[_PERCENTS.index(50)]),
        "AP75": float(means[_PERCENTS.index(75)]),
        "AP50_by_class": table[:, _PERCENTS.index(50)].tolist(),
    }


def _truths(labels: DetectionLabels) -> dict[Identifier, dict[Identifier, _Truth]]:
    """Ground truth by category and image."""
    truths: dict[Identifier, dict[Identifier, _Truth]] = {category: {} for category in labels.category_ids}
    for image, objects in zip(labels.image_ids, labels.objects, strict=True):
        corners = objects.labeled_boxes.copy()
        corners[:, 2:] += corners[:, :2]
        for label in np.unique(objects.labels):
            own = objects.labels == label
            ignored = (objects.difficult | objects.crowd)[own]
            truths[labels.category_ids[label - 1]][image] = _Truth(corners[own], ignored)
    return truths


def _found(labels: DetectionLabels, results: Sequence[Mapping[str, Any]]) -> dict[Identifier, list[Mapping[str, Any]]]:
    """Results by category, in descending order of score."""
    found: dict[Identifier, list[Mapping[str, Any]]] = defaultdict(list)
    known = set(labels.image_ids)
    for result in results:
        assert result["image_id"] in known, "results must be for images of the labels"
        found[result["category_id"]].append(result)
    for category in found:
        found[category].sort(key=lambda result: -float(result["score"]))
    return found


def _of_class(truths: Mapping[Identifier, _Truth], found: Sequence[Mapping[str, Any]], points: Points) -> list[float]:
    """AP of one class at each IoU threshold."""
    total = sum(int((~truth.ignored).sum()) for truth in truths.values())
    if total == 0:
        return [float("nan")] * len(_PERCENTS)
    best = [_best(truths.get(result["image_id"]), result["bbox"]) for result in found]
    measure = _eleven_points if points == "11" else _all_points
    values = []
    for percent in _PERCENTS:
        right, counted = _judged(truths, found, best, percent / 100)
        values.append(measure(np.cumsum(right[counted]), total))
    return values


def _best(truth: _Truth | None, box: Sequence[float | int]) -> tuple[int, float]:
    """Index of the object that a result overlaps most, the first of equal ones, and their IoU."""
    if truth is None:
        return -1, -1.0
    left, top, width, height = box
    start = np.maximum(truth.boxes[:, :2], (left, top))
    end = np.minimum(truth.boxes[:, 2:], (left + width, top + height))
    shared = np.maximum(end - start, 0).prod(axis=1)
    union = (truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(axis=1) + width * height - shared
    overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    index = int(np.argmax(overlap))
    return index, float(overlap[index])


def _judged(
    truths: Mapping[Identifier, _Truth],
    found: Sequence[Mapping[str, Any]],
    best: Sequence[tuple[int, float]],
    threshold: float,
) -> tuple[Bool[np.ndarray, " results"], Bool[np.ndarray, " results"]]:
    """Which results are true positives, and which count at all."""
    right, counted = np.zeros(len(found), dtype=bool), np.ones(len(found), dtype=bool)
    taken: set[tuple[Identifier, int]] = set()
    for index, (result, (matched, overlap)) in enumerate(zip(found, best, strict=True)):
        if overlap < threshold:
            continue
        image = result["image_id"]
        if truths[image].ignored[matched]:
            counted[index] = False
        elif (image, matched) not in taken:
            taken.add((image, matched))
            right[index] = True
    return right, counted


def _eleven_points(hits: Int64[np.ndarray, " results"], total: int) -> float:
    """Mean of the best precision at recall of at least 0, .1, ..., 1."""
    precision = hits / np.arange(1, len(hits) + 1)
    # Recall is compared in whole numbers: 3 of 10 objects must count as recall .3.
    best = [np.where(_EVERY * hits >= tenth * total, precision, 0).max(initial=0) for tenth in range(_EVERY + 1)]
    return float(np.mean(best))


def _all_points(hits: Int64[np.ndarray, " results"], total: int) -> float:
    """Area under the best precision at each recall or above it."""
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(hits, prepend=0) * best).sum() / total)


def _mean_over_classes(table: Float64[np.ndarray, "classes overlaps"]) -> Float64[np.ndarray, " overlaps"]:
    """Mean over the classes that have an AP, nan if none has."""
    with_objects = table[~np.isnan(table).any(axis=1)]
    return with_objects.mean(axis=0) if len(with_objects) else np.full(table.shape[1], np.nan)
