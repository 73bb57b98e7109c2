from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
)
from torchmetrics.functional.classification import (
    multilabel_average_precision,
    multilabel_precision,
    multilabel_recall,
)

from manyview.errors import UserError
from manyview.evaluation.metrics.multilabel import multilabel_metrics
from tests.references.multilabel import multilabel, random_case, random_ignored

NAMES = ("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1")
LISTS = ("AP", "precision", "recall", "f1")

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
THRESHOLDS = (0.5, 0.6, 0.0)


def assert_same(actual: dict, expected: dict, tolerance: float = 1e-9) -> None:
    assert set(actual) == set(expected) == {*NAMES, *LISTS}
    for name in NAMES:
        assert actual[name] == pytest.approx(expected[name], abs=tolerance, rel=0, nan_ok=True), name
    for name in LISTS:
        np.testing.assert_allclose(actual[name], expected[name], atol=tolerance, rtol=0, err_msg=name)


@pytest.mark.parametrize(
    ("scores", "targets", "threshold"),
    [
        *((*case, threshold) for case in EDGE_CASES.values() for threshold in THRESHOLDS),
        *((*random_case(seed), THRESHOLDS[seed % 3]) for seed in range(60)),
    ],
)
def test_equals_the_definition(scores: np.ndarray, targets: np.ndarray, threshold: float) -> None:
    expected = multilabel(scores.tolist(), targets.tolist(), threshold)
    assert_same(multilabel_metrics(scores, targets, threshold), expected)


@pytest.mark.parametrize(("scores", "targets"), CASES)
def test_top_k_equals_the_definition(scores: np.ndarray, targets: np.ndarray) -> None:
    for k in range(1, scores.shape[1] + 1):
        assert_same(multilabel_metrics(scores, targets, 0.4, k), multilabel(scores.tolist(), targets.tolist(), 0.4, k))


@pytest.mark.parametrize(("scores", "targets"), CASES)
def test_a_threshold_for_each_class_equals_the_definition(scores: np.ndarray, targets: np.ndarray) -> None:
    thresholds = np.linspace(0.2, 0.8, scores.shape[1])
    expected = multilabel(scores.tolist(), targets.tolist(), thresholds.tolist())
    for given in (thresholds, torch.from_numpy(thresholds), thresholds.tolist()):
        assert_same(multilabel_metrics(scores, targets, given), expected)


@pytest.mark.parametrize(("scores", "targets"), CASES)
def test_equals_scikit_learn(scores: np.ndarray, targets: np.ndarray) -> None:
    actual = multilabel_metrics(scores, targets, threshold=0.4)
    predicted = (scores >= 0.4).astype(int)
    # scikit-learn takes a single column for two classes, of which it would also count the negatives.
    truth, guess = (np.pad(a.astype(int), ((0, 0), (0, 2))) for a in (targets, predicted))
    present = list(range(targets.shape[1]))
    for names, average in (
        (("OP", "OR", "OF1"), "micro"),
        (("CP", "CR"), "macro"),
        (("precision", "recall", "f1"), None),
    ):
        found = precision_recall_fscore_support(truth, guess, labels=present, average=average, zero_division=0)
        for name, expected in zip(names, found, strict=False):
            np.testing.assert_allclose(actual[name], expected, atol=1e-9, rtol=0, err_msg=name)
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


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("ap", ["all_points", "voc07"])
def test_ignored_labels_count_neither_as_positive_nor_as_negative(seed: int, ap: str) -> None:
    scores, targets = random_case(seed)
    ignored = random_ignored(seed, targets.shape)
    for top_k in (None, 1, scores.shape[1]):
        actual = multilabel_metrics(scores, targets, 0.4, top_k, average_precision=ap, ignored=ignored)
        expected = multilabel(scores.tolist(), targets.tolist(), 0.4, top_k, ignored=ignored.tolist(), ap=ap)
        assert_same(actual, expected)
    # Without top_k, neither the label nor the score of an ignored entry has any effect.
    flipped = np.where(ignored, 1 - targets, targets)
    moved = np.where(ignored, 1 - scores, scores)
    expected = multilabel_metrics(scores, targets, ignored=ignored.tolist())
    assert_same(multilabel_metrics(moved, flipped, ignored=torch.from_numpy(ignored)), expected, 0)


@pytest.mark.parametrize("seed", range(20))
def test_ignored_labels_equal_scikit_learn_on_the_images_left(seed: int) -> None:
    scores, targets = random_case(seed)
    ignored = random_ignored(seed, targets.shape)
    actual = multilabel_metrics(scores, targets, 0.4, ignored=ignored)
    for c in range(scores.shape[1]):
        kept = ignored[:, c] == 0
        truth, own = targets[kept, c], scores[kept, c]
        if not truth.any():
            assert math.isnan(actual["AP"][c])
            continue
        assert actual["AP"][c] == pytest.approx(average_precision_score(truth, own), abs=1e-9, rel=0)
        for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            expected = score(truth, own >= 0.4, zero_division=0)
            assert actual[name][c] == pytest.approx(expected, abs=1e-9, rel=0), name


def test_an_ignored_class_keeps_its_place_among_the_best() -> None:
    scores, targets = np.array([[0.9, 0.8]]), np.array([[1, 1]])
    assert multilabel_metrics(scores, targets, top_k=1, ignored=np.array([[1, 0]]))["OR"] == 0


@pytest.mark.parametrize("seed", range(30))
def test_voc07_equals_the_definition(seed: int) -> None:
    scores, targets = random_case(seed)
    actual = multilabel_metrics(scores, targets, average_precision="voc07")
    assert_same(actual, multilabel(scores.tolist(), targets.tolist(), ap="voc07"))


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
    assert metrics["f1"] == pytest.approx([2 / 3, 1 / 2])


def test_ml_gcn_compatibility_adds_unpredicted_classes_to_the_denominator_of_op_only() -> None:
    scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1]])
    targets = np.array([[1, 1, 0], [0, 0, 1]])
    ours, theirs = (multilabel_metrics(scores, targets, compatibility=mode) for mode in (None, "ml-gcn"))
    assert ours["OP"] == pytest.approx(1 / 2)
    assert theirs["OP"] == pytest.approx(1 / 4)
    assert theirs["OF1"] == pytest.approx(2 * (1 / 4) * (1 / 3) / (1 / 4 + 1 / 3))
    unchanged = ("OR", "CP", "CR", "CF1", *LISTS)
    assert {k: ours[k] for k in unchanged} == {k: theirs[k] for k in unchanged}


@pytest.mark.parametrize("seed", range(20))
def test_ml_gcn_compatibility_equals_the_definition(seed: int) -> None:
    scores, targets = random_case(seed)
    actual = multilabel_metrics(scores, targets, 0.9, compatibility="ml-gcn")
    assert_same(actual, multilabel(scores.tolist(), targets.tolist(), 0.9, ml_gcn=True))


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


def test_tiny_probabilities_of_bfloat16_keep_their_order() -> None:
    scores = torch.tensor([[1e-20], [1e-21]], dtype=torch.bfloat16)
    assert multilabel_metrics(scores, torch.tensor([[1], [0]]))["mAP"] == 1


@pytest.mark.parametrize("threshold", [0.7, [0.7]])
def test_a_score_equal_to_the_threshold_is_predicted_in_float32_too(threshold: float | list[float]) -> None:
    # float32's .7 is below float64's.
    for scores in (np.array([[0.7]], dtype=np.float32), torch.tensor([[0.7]])):
        assert multilabel_metrics(scores, np.array([[1]]), threshold)["OR"] == 1


def test_no_warning_and_plain_floats() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = multilabel_metrics(np.zeros((2, 2)), np.zeros((2, 2)))
    assert all(type(metrics[name]) is float for name in NAMES)
    assert all([type(value) for value in metrics[name]] == [float, float] for name in LISTS)
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
        (HALF, ZEROS, {"threshold": [0.5, 0.5, -0.2]}, "threshold is a probability from 0 to 1, not -0.2"),
        (HALF, ZEROS, {"threshold": [0.5, 0.5]}, r"shape \(2,\) where there are 3 classes: give one number, or one"),
        (HALF, ZEROS, {"threshold": np.full((2, 3), 0.5)}, r"threshold has the shape \(2, 3\)"),
        (HALF, ZEROS, {"top_k": 0}, "top_k must be from 1 to the number of classes, 3, not 0"),
        (HALF, ZEROS, {"top_k": 4}, "top_k must be from 1 to"),
        (HALF, ZEROS, {"ignored": ZEROS.T}, r"shape \(2, 3\), but ignored \(3, 2\)"),
        (HALF, ZEROS, {"ignored": ZEROS + 3}, "ignored must be 0 or 1, but one is 3"),
    ],
)
def test_mistakes_are_named(scores: np.ndarray, targets: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        multilabel_metrics(scores, targets, **options)
