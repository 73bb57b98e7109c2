from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from manyview.errors import UserError
from manyview.evaluation.metrics.bootstrap import bootstrap
from manyview.evaluation.metrics.multilabel import multilabel_metrics, multilabel_report
from tests.references.multilabel import best_threshold, multilabel, random_ignored

OF_A_RULE = ("OP", "OR", "OF1", "CP", "CR", "CF1", "precision", "recall", "f1")


def case(seed: int = 11) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, (40, 5))
    return np.round(np.clip(0.4 * targets + 0.6 * rng.random(targets.shape), 0, 1), 2), targets


def test_every_rule_equals_the_definition() -> None:
    scores, targets = case()
    train_scores, train_targets = case(12)
    ignored, train_ignored = random_ignored(1, targets.shape), random_ignored(2, targets.shape)
    report = multilabel_report(
        scores,
        targets,
        train_scores=train_scores,
        train_targets=train_targets,
        train_ignored=train_ignored,
        ignored=ignored,
        resamples=0,
    )
    best = []
    for c in range(5):
        kept = train_ignored[:, c] == 0
        best.append(best_threshold(train_scores[kept, c].tolist(), train_targets[kept, c].tolist()))
    expected = {
        "p>=0.5": (0.5, None),
        "logit>=0.6": (1 / (1 + math.exp(-0.6)), None),
        "top-3": (0.5, 3),
        "best F1 on train": (best, None),
    }
    assert list(report["rules"]) == list(expected)
    figures = set()
    for name, (threshold, top_k) in expected.items():
        rule = report["rules"][name]
        assert set(rule) == {"threshold", "top_k", *OF_A_RULE}
        assert (rule["threshold"], rule["top_k"]) == (pytest.approx(threshold, abs=1e-12), top_k)
        truth = multilabel(scores.tolist(), targets.tolist(), threshold, top_k, ignored=ignored.tolist())
        for figure in OF_A_RULE:
            np.testing.assert_allclose(rule[figure], truth[figure], atol=1e-9, rtol=0, err_msg=f"{name}: {figure}")
        figures.add(rule["OF1"])
    assert len(figures) == 4  # the case tells the rules apart


@pytest.mark.parametrize(
    ("threshold", "name", "count"),
    [(0.5, "p>=0.5", 3), (1 / (1 + math.exp(-0.6)), "logit>=0.6", 3), (0.3, "p>=0.3", 4), (1, "p>=1.0", 4)],
)
def test_the_top_level_is_what_multilabel_metrics_gives(threshold: float, name: str, count: int) -> None:
    scores, targets = case()
    report = multilabel_report(scores, targets, threshold, resamples=0)
    expected = multilabel_metrics(scores, targets, threshold)
    assert {key: report[key] for key in expected} == expected
    assert set(report) == {*expected, "rule", "rules", "false_predictions"}
    assert report["rule"] == next(iter(report["rules"])) == name
    assert len(report["rules"]) == count
    assert {key: report["rules"][name][key] for key in OF_A_RULE} == {key: expected[key] for key in OF_A_RULE}


def test_options_reach_every_figure() -> None:
    scores, targets = case()
    scores[:, 0] /= 2  # never predicted
    options = {"average_precision": "voc07", "compatibility": "ml-gcn"}
    report = multilabel_report(scores, targets, 0.9, resamples=40, seed=5, confidence=0.8, **options)
    expected = multilabel_metrics(scores, targets, 0.9, **options)
    assert {key: report[key] for key in expected} == expected
    plain = multilabel_metrics(scores, targets, 0.9)
    assert plain["mAP"] != expected["mAP"]
    assert plain["OP"] != expected["OP"]
    logit = report["rules"]["logit>=0.6"]
    for intervals, threshold in ((report["intervals"], 0.9), (logit["intervals"], logit["threshold"])):
        sure = bootstrap(scores, targets, threshold, resamples=40, seed=5, confidence=0.8, **options)
        assert intervals == {name: sure[name] for name in intervals}
    assert list(report["intervals"]) == ["mAP", *OF_A_RULE[:6]]
    assert list(logit["intervals"]) == list(OF_A_RULE[:6])


def test_fewer_than_three_classes_are_all_among_the_best() -> None:
    rules = multilabel_report(np.array([[0.9, 0.8]]), np.array([[1, 1]]), resamples=0)["rules"]
    assert rules["top-3"]["top_k"] == 2
    assert {key: rules["top-3"][key] for key in OF_A_RULE} == {key: rules["p>=0.5"][key] for key in OF_A_RULE}


def test_the_report_is_plain_data() -> None:
    scores, targets = case()
    report = multilabel_report(
        torch.from_numpy(scores), targets, train_scores=scores, train_targets=targets, resamples=10
    )
    again = json.loads(json.dumps(report, allow_nan=False))
    assert again["rules"]["best F1 on train"]["threshold"] == report["rules"]["best F1 on train"]["threshold"]
    assert again["intervals"]["mAP"] == list(report["intervals"]["mAP"])


def test_half_a_training_split_is_refused() -> None:
    scores, targets = case()
    with pytest.raises(UserError, match="need both train_scores and train_targets"):
        multilabel_report(scores, targets, train_scores=scores)


def test_a_training_split_of_other_classes_is_refused() -> None:
    scores, targets = case()
    with pytest.raises(UserError, match="train_scores have 4 classes, but scores 5"):
        multilabel_report(scores, targets, train_scores=scores[:, :4], train_targets=targets[:, :4])


def test_intervals_of_classes_are_the_bootstrap_of_each_alone() -> None:
    scores, targets = case()
    report = multilabel_report(scores, targets, resamples=60, seed=3)
    assert len(report["AP_intervals"]) == scores.shape[1]
    for c, (low, high) in enumerate(report["AP_intervals"]):
        alone = bootstrap(scores[:, c : c + 1], targets[:, c : c + 1], resamples=60, seed=3)["mAP"]
        assert (low, high) == pytest.approx(alone, abs=1e-12)


def test_false_predictions_are_counted_by_what_is_shown() -> None:
    rng = np.random.default_rng(2)
    scores, targets, ignored = rng.random((50, 4)), rng.random((50, 4)) < 0.4, rng.random((50, 4)) < 0.1
    targets[:, 3] = True  # shown everywhere: never predicted in its absence
    found = multilabel_report(
        *(scores, targets.astype(int)),
        ignored=ignored.astype(int),
        train_scores=scores,
        train_targets=targets.astype(int),
        resamples=0,
    )
    shares, thresholds = found["false_predictions"], found["rules"]["best F1 on train"]["threshold"]
    assert shares["rule"] == "best F1 on train"
    for j in range(4):
        absent = [n for n in range(50) if not ignored[n, j] and not targets[n, j]]
        wrong = [n for n in absent if scores[n, j] >= thresholds[j]]
        assert shares["overall"][j] == (pytest.approx(len(wrong) / len(absent), abs=1e-4) if absent else None)
        for i in range(4):
            shown = [n for n in absent if targets[n, i] and not ignored[n, i]]
            share = sum(n in wrong for n in shown) / len(shown) if shown and i != j else None
            assert shares["beside"][i][j] == (None if share is None else pytest.approx(share, abs=1e-4))
    many = multilabel_report(rng.random((3, 121)), np.ones((3, 121)), resamples=0)
    assert "false_predictions" not in many
