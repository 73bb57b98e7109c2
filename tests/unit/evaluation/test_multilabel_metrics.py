from __future__ import annotations

import math
import re
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, precision_score, recall_score
from torchmetrics.functional.classification import (
    multilabel_average_precision,
    multilabel_precision,
    multilabel_recall,
)

from manyview.errors import UserError
from manyview.evaluation.metrics import f1, multilabel_metrics
from references.multilabel import multilabel, voc07_average_precision

NAMES = ("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1")


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


EDGE_CASES = {
    "one image": (np.array([[0.9, 0.2, 0.5]]), np.array([[1, 1, 0]])),
    "one image, one class": (np.array([[0.5]]), np.array([[1]])),
    "nothing predicted": (np.full((6, 3), 0.1), np.tile([[1, 0, 1], [0, 1, 0]], (3, 1))),
    "nothing positive": (np.linspace(0, 1, 12).reshape(4, 3), np.zeros((4, 3), int)),
    "everything positive": (np.linspace(0, 1, 12).reshape(4, 3), np.ones((4, 3), int)),
    "everything predicted": (np.ones((5, 2)), np.array([[1, 0]] * 4 + [[0, 1]])),
    "all scores equal": (np.full((8, 2), 0.5), np.array([[1, 0], [0, 1]] * 4)),
    "class without positives": (np.array([[0.9, 0.8], [0.1, 0.7]]), np.array([[1, 0], [0, 0]])),
}
CASES = [pytest.param(*case, id=name) for name, case in EDGE_CASES.items()]
CASES += [pytest.param(*random_case(seed), id=f"random {seed}") for seed in range(60)]


def assert_same(actual: dict, expected: dict, tolerance: float = 1e-9) -> None:
    for name in NAMES:
        assert actual[name] == pytest.approx(expected[name], abs=tolerance, rel=0, nan_ok=True), name
    np.testing.assert_allclose(actual["AP"], expected["AP"], atol=tolerance, rtol=0, equal_nan=True)


@pytest.mark.parametrize(("scores", "targets"), CASES)
@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.0])
def test_equals_the_definition(scores: np.ndarray, targets: np.ndarray, threshold: float) -> None:
    actual = multilabel_metrics(scores, targets, threshold)
    assert set(actual) == {*NAMES, "AP"}
    assert_same(actual, multilabel(scores.tolist(), targets.tolist(), threshold))


@pytest.mark.parametrize(("scores", "targets"), CASES)
def test_top_k_equals_the_definition(scores: np.ndarray, targets: np.ndarray) -> None:
    for k in range(1, scores.shape[1] + 1):
        assert_same(multilabel_metrics(scores, targets, 0.4, k), multilabel(scores.tolist(), targets.tolist(), 0.4, k))


@pytest.mark.parametrize(("scores", "targets"), CASES)
def test_equals_scikit_learn(scores: np.ndarray, targets: np.ndarray) -> None:
    actual = multilabel_metrics(scores, targets, threshold=0.4)
    predicted = (scores >= 0.4).astype(int)
    # scikit-learn takes a single column for two classes, of which it would count the negatives, too.
    truth, guess = (np.pad(a.astype(int), ((0, 0), (0, 2))) for a in (targets, predicted))
    present = list(range(targets.shape[1]))
    for name, score, average in (
        ("OP", precision_score, "micro"),
        ("OR", recall_score, "micro"),
        ("CP", precision_score, "macro"),
        ("CR", recall_score, "macro"),
    ):
        expected = score(truth, guess, labels=present, average=average, zero_division=0)
        assert actual[name] == pytest.approx(expected, abs=1e-9, rel=0), name
    for c in present:
        if targets[:, c].any():
            expected = average_precision_score(targets[:, c], scores[:, c])
            assert actual["AP"][c] == pytest.approx(expected, abs=1e-9, rel=0)
        else:
            assert math.isnan(actual["AP"][c])


@pytest.mark.parametrize("seed", range(20))
def test_equals_torchmetrics(seed: int) -> None:
    """To the float32 in which torchmetrics counts, and for classes that it does not leave out of its means."""
    rng = np.random.default_rng(seed)
    scores, targets = np.round(rng.random((60, 5)), 2), rng.integers(0, 2, (60, 5))
    actual = multilabel_metrics(scores, targets, threshold=0.505)
    theirs = (torch.from_numpy(scores), torch.from_numpy(targets), 5)
    ap = multilabel_average_precision(*theirs, average=None)
    np.testing.assert_allclose(actual["AP"], ap.numpy(), atol=1e-6)
    for name, metric, average in (
        ("OP", multilabel_precision, "micro"),
        ("OR", multilabel_recall, "micro"),
        ("CP", multilabel_precision, "macro"),
        ("CR", multilabel_recall, "macro"),
    ):
        expected = float(metric(*theirs, threshold=0.505, average=average))
        assert actual[name] == pytest.approx(expected, abs=1e-6), name


def test_voc07_equals_the_definition() -> None:
    for seed in range(30):
        scores, targets = random_case(seed)
        actual = multilabel_metrics(scores, targets, average_precision="voc07")
        expected = [
            voc07_average_precision(scores[:, c].tolist(), targets[:, c].tolist()) for c in range(scores.shape[1])
        ]
        np.testing.assert_allclose(actual["AP"], expected, atol=1e-9, rtol=0, equal_nan=True)


def test_voc07_takes_a_tenth_of_the_positives_as_recall_a_tenth() -> None:
    # Ten positives, of which exactly three rank first: recall .3 counts as reached, at precision 1.
    scores = np.linspace(1, 0, 20).reshape(-1, 1)
    targets = np.array([1] * 3 + [0] * 10 + [1] * 7).reshape(-1, 1)
    expected = (4 * 1.0 + 7 * 10 / 20) / 11
    assert multilabel_metrics(scores, targets, average_precision="voc07")["mAP"] == pytest.approx(expected, abs=1e-12)


def test_cf1_is_the_f1_of_the_averages() -> None:
    # Class 0: precision 1, recall 1/2; class 1: precision 1/3, recall 1. The mean of both F1s would be .583.
    scores = np.array([[0.9, 0.9], [0.1, 0.9], [0.1, 0.9]])
    targets = np.array([[1, 1], [1, 0], [0, 0]])
    metrics = multilabel_metrics(scores, targets)
    assert metrics["CP"] == pytest.approx(2 / 3)
    assert metrics["CR"] == pytest.approx(3 / 4)
    assert metrics["CF1"] == pytest.approx(2 * (2 / 3) * (3 / 4) / (2 / 3 + 3 / 4))


def test_ml_gcn_compatibility_adds_unpredicted_classes_to_the_denominator_of_op_only() -> None:
    scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1]])
    targets = np.array([[1, 1, 0], [0, 0, 1]])
    ours, theirs = (multilabel_metrics(scores, targets, compatibility=mode) for mode in (None, "ml-gcn"))
    assert ours["OP"] == pytest.approx(1 / 2)
    assert theirs["OP"] == pytest.approx(1 / 4)
    assert theirs["OF1"] == pytest.approx(f1(1 / 4, 1 / 3))
    assert {k: ours[k] for k in ("OR", "CP", "CR", "CF1", "AP")} == {
        k: theirs[k] for k in ("OR", "CP", "CR", "CF1", "AP")
    }


def test_average_precision_does_not_depend_on_the_order_of_images() -> None:
    scores, targets = random_case(1)
    order = np.random.default_rng(0).permutation(len(scores))
    assert_same(multilabel_metrics(scores, targets), multilabel_metrics(scores[order], targets[order]), 1e-15)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tensors_and_lists_give_what_arrays_give(dtype: torch.dtype) -> None:
    scores, targets = random_case(3)
    tensor = torch.from_numpy(scores).to(dtype)
    expected = multilabel(tensor.double().tolist(), targets.tolist())
    assert_same(multilabel_metrics(tensor, torch.from_numpy(targets).bool()), expected)
    assert_same(multilabel_metrics(tensor.requires_grad_(), torch.from_numpy(targets).float()), expected)
    assert_same(multilabel_metrics(tensor.tolist(), targets.tolist()), expected)


def test_a_score_equal_to_the_threshold_is_predicted_in_float32_too() -> None:
    # float32's .7 is below float64's.
    for scores in (np.array([[0.7]], dtype=np.float32), torch.tensor([[0.7]])):
        assert multilabel_metrics(scores, np.array([[1]]), threshold=0.7)["OR"] == 1


def test_no_warning_and_plain_floats() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = multilabel_metrics(np.zeros((2, 2)), np.zeros((2, 2)))
    assert all(type(metrics[name]) is float for name in NAMES)
    assert [type(value) for value in metrics["AP"]] == [float, float]
    assert math.isnan(metrics["mAP"])


HALF = np.full((2, 3), 0.5)
ZEROS = np.zeros((2, 3), int)


@pytest.mark.parametrize(
    ("scores", "targets", "options", "message"),
    [
        (HALF, np.zeros((3, 2), int), {}, r"shape \(2, 3\), but targets \(3, 2\)"),
        (HALF[0], ZEROS[0], {}, r"must both have the shape \(images, classes\).*not \(3,\) and \(3,\)"),
        (np.zeros((0, 3)), np.zeros((0, 3)), {}, "at least one of each"),
        (HALF + 2.7, ZEROS, {}, r"from 0 to 1, but one is 3.2: apply a sigmoid"),
        (HALF - 0.6, ZEROS, {}, r"but one is -0.1"),
        (HALF * math.nan, ZEROS, {}, "but one is nan"),
        (HALF, ZEROS + 2, {}, "targets must be 0 or 1, but one is 2"),
        (HALF, ZEROS + 0.5, {}, "targets must be 0 or 1, but one is 0.5"),
        (HALF, ZEROS - 1, {}, "but one is -1"),
        (HALF, ZEROS, {"threshold": 1.2}, "threshold is a probability from 0 to 1, not 1.2"),
        (HALF, ZEROS, {"threshold": math.nan}, "threshold"),
        (HALF, ZEROS, {"top_k": 0}, "top_k must be from 1 to the number of classes, 3, not 0"),
        (HALF, ZEROS, {"top_k": 4}, "top_k must be from 1 to"),
    ],
)
def test_mistakes_are_named(scores: np.ndarray, targets: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        multilabel_metrics(scores, targets, **options)


# Rows of numbers of the paper's Tables 1, 2, 4 and 5: mAP OP OR OF1 CP CR CF1.
PAPER = """
35.5 86.6 17.9 29.7 32.1 5.7 9.7
41.1 93.4 13.9 24.2 19.5 1.3 2.5
45.0 91.5 13.5 23.5 9.5 1.1 2.0
47.9 88.7 11.8 20.8 1.21 0.8 1.0
50.9 85.9 33.9 48.6 74.0 24.6 36.9
54.3 88.3 38.0 53.2 75.1 27.2 40.0
56.5 90.0 35.8 51.2 80.8 25.5 38.7
56.6 89.7 36.7 52.1 80.3 26.3 39.6
57.2 88.3 38.0 53.2 75.1 27.2 40.0
60.2 87.7 42.5 57.2 77.5 33.9 47.1
62.0 88.0 43.1 57.9 80.0 35.6 49.3
62.3 88.2 43.8 58.5 81.4 35.7 49.7
63.3 88.6 44.5 59.3 83.0 37.0 51.2
64.0 88.6 45.6 60.2 83.1 38.3 52.4

38.8 94.3 11.3 20.1 2.5 0.8 1.2
42.2 85.6 27.1 41.2 59.7 14.5 23.4
44.3 89.3 12.0 21.2 2.2 0.8 1.2
47.3 93.6 10.3 18.6 1.2 0.7 0.9
52.3 86.4 35.8 50.7 71.6 25.6 37.7
56.0 91.1 34.0 49.5 79.0 23.5 36.2
58.8 89.0 39.8 55.0 74.1 29.0 41.7
61.1 91.1 39.3 54.9 76.2 28.7 41.7
63.3 91.0 42.4 57.8 82.2 32.0 46.1
66.2 90.0 47.6 62.3 84.8 40.5 54.8
66.7 90.7 48.0 62.8 86.0 40.6 55.2
67.9 91.0 48.1 62.9 85.0 41.6 55.8
68.1 90.0 50.2 64.4 83.9 43.6 57.4
68.5 90.1 50.6 64.8 83.7 43.7 57.4

45.6 84.5 28.8 43.0 63.8 16.5 26.3
51.0 85.7 33.1 47.8 68.1 21.5 32.6
54.3 88.3 38.0 53.2 75.1 27.2 40.0
55.5 88.6 36.6 51.8 74.0 25.8 38.3
54.7 88.6 36.0 51.2 71.7 25.0 37.0

53.3 87.1 34.7 49.6 69.0 23.3 34.8
54.3 88.3 38.0 53.2 75.1 27.2 40.0
52.1 87.0 34.0 48.8 70.5 22.4 33.9
39.6 84.7 23.3 36.6 48.0 11.1 17.9
"""


@pytest.mark.parametrize("row", re.findall(r"\S.*", PAPER))
def test_f1_of_the_papers_tables_follows_from_their_precision_and_recall(row: str) -> None:
    _, op, or_, of1, cp, cr, cf1 = map(float, row.split())
    assert 100 * f1(op / 100, or_ / 100) == pytest.approx(of1, abs=0.15)
    assert 100 * f1(cp / 100, cr / 100) == pytest.approx(cf1, abs=0.15)
