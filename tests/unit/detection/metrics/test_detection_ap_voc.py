"""VOC's average precision: worked out by hand, and as the development kit defines it, written out in loops."""

from __future__ import annotations

import inspect
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from manyview.detection.metrics import voc_average_precision
from manyview.errors import UserError
from tests.helpers.detections import labels_of


def result(image: int, box: list[float], score: float, category: int = 7) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


HAND = labels_of(
    [[[0, 0, 10, 10], [20, 20, 10, 10]], [[0, 0, 10, 10], [50, 50, 20, 20]]],
    [[1, 1], [1, 1]],
    classes=2,
    difficult=[[False, False], [False, True]],
)
FOUND = [
    result(100, [0, 0, 10, 10], 0.9),  # right
    result(103, [100, 100, 10, 10], 0.8),  # wrong
    result(100, [0, 0, 10, 9], 0.7),  # of an object found before, so wrong
    result(103, [0, 0, 10, 6], 0.6),  # right at an IoU of .6 and less
    result(103, [50, 50, 20, 20], 0.5),  # difficult, so neither
    result(103, [50, 50, 20, 18], 0.4),  # likewise, also the second time
]


def test_a_case_worked_out_by_hand() -> None:
    # Of three objects, at IoU .5: precision 1, 1/2, 1/3, 2/4 at recall 1/3, 1/3, 1/3, 2/3.
    # Best precision at recall of at least 0, .1, .2, .3: 1; .4, .5, .6: 1/2; .7 and more: 0.
    low = (4 * 1 + 3 / 2) / 11
    # Above IoU .6: recall 1/3 with the first, and no more.
    high = 4 / 11
    ap = voc_average_precision(HAND, FOUND)
    assert ap["AP50"] == pytest.approx(low)
    assert ap["AP75"] == pytest.approx(high)
    assert ap["AP"] == pytest.approx((3 * low + 7 * high) / 10)
    assert ap["AP50_by_class"][0] == pytest.approx(low)
    assert math.isnan(ap["AP50_by_class"][1])


def test_the_area_under_the_curve_worked_out_by_hand() -> None:
    ap = voc_average_precision(HAND, FOUND, points="all")
    assert ap["AP50"] == pytest.approx(1 / 3 * 1 + 1 / 3 * 1 / 2)
    assert ap["AP75"] == pytest.approx(1 / 3)


def test_three_of_ten_objects_are_a_recall_of_three_tenths() -> None:
    labels = labels_of([[[20 * place, 0, 10, 10] for place in range(10)]], [[1] * 10])
    found = [result(100, [20 * place, 0, 10, 10], 0.9) for place in range(3)]
    assert voc_average_precision(labels, found)["AP50"] == pytest.approx(4 / 11)


def test_crowds_are_ignored() -> None:
    labels = labels_of([[[0, 0, 10, 10], [50, 50, 20, 20]]], [[1, 1]], crowd=[[False, True]])
    found = [result(100, [50, 50, 20, 20], 0.9), result(100, [0, 0, 10, 10], 0.8)]
    assert voc_average_precision(labels, found)["AP"] == pytest.approx(1)


def test_nothing_found_and_nothing_to_find() -> None:
    assert voc_average_precision(HAND, [])["AP"] == 0
    assert math.isnan(voc_average_precision(labels_of([[]], [[]]), [])["AP"])


def test_an_unknown_number_of_points_is_refused() -> None:
    unchecked: Any = inspect.unwrap(voc_average_precision)
    with pytest.raises(UserError, match="points must be '11' or 'all', not '10'"):
        unchecked(HAND, FOUND, points="10")


Corners = tuple[int, int, int, int]
"""The first and the last pixel of a box, from 1: xmin, ymin, xmax, ymax."""


def development_kit(
    truth: dict[int, list[tuple[Corners, bool]]],
    found: list[tuple[int, Corners, float]],
    minoverlap: Fraction,
    eleven: bool,
) -> float:
    """``VOCevaldet.m``: AP of one class. Results are (image, corners, confidence)."""
    positives = sum(not difficult for things in truth.values() for _, difficult in things)
    ranked = sorted(found, key=lambda entry: -entry[2])
    detected: set[tuple[int, int]] = set()
    tp, fp, points = 0, 0, []
    for image, box, _ in ranked:
        most, which = Fraction(-1), None
        for number, (other, _) in enumerate(truth.get(image, [])):
            wide = min(box[2], other[2]) - max(box[0], other[0]) + 1
            high = min(box[3], other[3]) - max(box[1], other[1]) + 1
            if wide > 0 and high > 0:
                area = sum((b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)) - wide * high
                if Fraction(wide * high, area) > most:
                    most, which = Fraction(wide * high, area), number
        if which is not None and most >= minoverlap:
            if truth[image][which][1]:
                continue
            if (image, which) in detected:
                fp += 1
            else:
                tp += 1
                detected.add((image, which))
        else:
            fp += 1
        points.append((Fraction(tp, positives), tp / (tp + fp)))
    if eleven:
        levels = [Fraction(tenth, 10) for tenth in range(11)]
        best = [max((precision for recall, precision in points if recall >= level), default=0) for level in levels]
        return sum(best) / 11
    area, before = 0.0, Fraction(0)
    for recall, _ in points:  # a step at each new recall, as high as the best precision from there on
        if recall > before:
            height = max(precision for other, precision in points if other >= recall)
            area, before = area + float(recall - before) * height, recall
    return area


@pytest.mark.parametrize("points", ["11", "all"])
@pytest.mark.parametrize("seed", range(12))
def test_figures_are_those_of_the_development_kit(seed: int, points: Any) -> None:
    rng = np.random.default_rng(seed)
    images, classes = int(rng.integers(2, 9)), 3
    boxes: list[list[list[float]]] = []
    labels: list[list[int]] = []
    difficult: list[list[bool]] = []
    truth: list[dict[int, list[tuple[Corners, bool]]]] = [{} for _ in range(classes)]
    found: list[list[tuple[int, Corners, float]]] = [[] for _ in range(classes)]
    results = []
    for number in range(images):
        boxes.append([])
        labels.append([])
        difficult.append([])
        for _ in range(rng.integers(0, 9)):
            left, top, width, height = (int(value) for value in rng.integers((0, 0, 5, 5), (60, 60, 40, 40)))
            label, hard = int(rng.integers(1, classes + 1)), bool(rng.random() < 0.25)
            boxes[-1].append([left, top, width, height])
            labels[-1].append(label)
            difficult[-1].append(hard)
            image = 100 + 3 * number
            corners = (left + 1, top + 1, left + width, top + height)
            truth[label - 1].setdefault(image, []).append((corners, hard))
            for _ in range(rng.integers(0, 4)):
                x, y, across, down = (int(value) for value in np.array(boxes[-1][-1]) + rng.integers(-3, 4, 4))
                guess = label if rng.random() < 0.85 else int(rng.integers(1, classes + 1))
                score = float(rng.integers(1, 11) / 10)
                results.append(result(image, [x, y, across, down], score, 5 + 2 * guess))
                found[guess - 1].append((image, (x + 1, y + 1, x + across, y + down), score))
    ap = voc_average_precision(labels_of(boxes, labels, classes=classes, difficult=difficult), results, points)
    table = []
    for percent in range(50, 100, 5):
        row = []
        for own, guesses in zip(truth, found, strict=True):
            countable = any(not hard for things in own.values() for _, hard in things)
            least = Fraction(percent, 100)
            row.append(development_kit(own, guesses, least, points == "11") if countable else math.nan)
        table.append(row)
    assert ap["AP50_by_class"] == pytest.approx(table[0], abs=1e-12, nan_ok=True)
    assert ap["AP50"] == pytest.approx(np.nanmean(table[0]), abs=1e-12)
    assert ap["AP75"] == pytest.approx(np.nanmean(table[5]), abs=1e-12)
    assert ap["AP"] == pytest.approx(np.mean([np.nanmean(row) for row in table]), abs=1e-12)
    assert 0 < ap["AP"] < ap["AP50"] < 1
