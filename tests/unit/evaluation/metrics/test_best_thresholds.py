from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_curve

from manyview.errors import UserError
from manyview.evaluation.metrics.decisions import best_thresholds
from manyview.evaluation.metrics.multilabel import multilabel_metrics
from tests.references.multilabel import best_threshold, exact_f1, random_case, random_ignored


def column(scores: list[float], targets: list[int]) -> float:
    """The best threshold of one class."""
    return float(best_thresholds(np.array([scores]).T, np.array([targets]).T)[0])


@pytest.mark.parametrize("seed", range(60))
def test_no_threshold_gives_a_better_f1(seed: int) -> None:
    scores, targets = random_case(seed)
    ignored = random_ignored(seed, targets.shape)
    thresholds = best_thresholds(scores, targets, ignored)
    for c, threshold in enumerate(thresholds.tolist()):
        kept = ignored[:, c] == 0
        own, truth = scores[kept, c].tolist(), targets[kept, c].tolist()
        candidates = {0.0, 1.0, 0.5, *own, *np.linspace(0, 1, 101).tolist()}
        best = max(exact_f1(own, truth, candidate) for candidate in candidates)
        assert exact_f1(own, truth, threshold) == best
        assert threshold == pytest.approx(best_threshold(own, truth), abs=1e-15, rel=0)


@pytest.mark.parametrize("seed", range(20))
def test_the_f1_is_the_best_of_scikit_learns_curve(seed: int) -> None:
    scores, targets = random_case(seed)
    metrics = multilabel_metrics(scores, targets, best_thresholds(scores, targets))
    for c in np.flatnonzero(targets.any(0)):
        precision, recall, _ = precision_recall_curve(targets[:, c], scores[:, c])
        expected = (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max()
        assert metrics["f1"][c] == pytest.approx(expected, abs=1e-9, rel=0)


def test_it_lies_in_the_middle_between_the_scores_that_it_parts() -> None:
    assert column([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0]) == pytest.approx(0.55)


def test_it_lies_between_zero_and_the_lowest_score_where_all_images_are_best_predicted() -> None:
    assert column([0.9, 0.4], [1, 1]) == pytest.approx(0.2)
    assert column([0.0, 0.0], [1, 1]) == 0


def test_of_equally_good_thresholds_the_highest_is_taken() -> None:
    # F1 is 2/3 with the first image alone, and with all four.
    assert column([0.9, 0.6, 0.4, 0.2], [1, 0, 0, 1]) == pytest.approx(0.75)


def test_a_class_without_positives_gets_one_half() -> None:
    scores = np.array([[0.9, 0.9, 0.9], [0.1, 0.1, 0.1]])
    targets = np.array([[0, 1, 1], [0, 0, 0]])
    ignored = np.array([[0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(best_thresholds(scores, targets, ignored), [0.5, 0.5, 0.5])
    assert column([0.2, 0.1], [0, 0]) == 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_threshold_parts_neighboring_numbers_of_the_scores_precision(dtype: torch.dtype) -> None:
    upper = torch.tensor([0.7], dtype=dtype)
    lower = torch.nextafter(upper.float(), torch.zeros(1)) if dtype == torch.float32 else upper - 2.0**-8
    scores, targets = torch.cat([upper, lower.to(dtype)])[:, None], torch.tensor([[1], [0]])
    thresholds = best_thresholds(scores, targets)
    metrics = multilabel_metrics(scores, targets, thresholds)
    assert (metrics["OP"], metrics["OR"]) == (1, 1)


def test_thresholds_of_ones_own_split_are_at_least_as_good_as_one_half() -> None:
    scores, targets = random_case(4)
    tuned = multilabel_metrics(scores, targets, best_thresholds(scores, targets))["f1"]
    plain = multilabel_metrics(scores, targets)["f1"]
    assert all(a >= b for a, b in zip(tuned, plain, strict=True))
    assert any(a > b for a, b in zip(tuned, plain, strict=True))


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="from 0 to 1, but one is 2"):
        best_thresholds(np.array([[2.0]]), np.array([[1]]))
