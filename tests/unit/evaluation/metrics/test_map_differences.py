"""Paired differences of mAP against scikit-learn on each resample."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from manyview.evaluation.metrics.differences import map_differences
from manyview.evaluation.metrics.scores import LabeledScores

IMAGES, CLASSES, RESAMPLES, SEED = 40, 3, 50, 7


def mean_average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    shown = [column for column in range(CLASSES) if targets[:, column].any()]
    return float(np.mean([average_precision_score(targets[:, each], scores[:, each]) for each in shown]))


@pytest.fixture
def drawn() -> tuple[np.ndarray, dict[str, list[np.ndarray]]]:
    rng = np.random.default_rng(0)
    targets = (rng.random((IMAGES, CLASSES)) < (0.5, 0.3, 0.1)).astype(np.uint8)
    better, worse = (np.clip(rng.random((IMAGES, CLASSES)) + share * targets, 0, 1) for share in (0.5, 0.2))
    others = [np.clip(rng.random((IMAGES, CLASSES)) + 0.1 * targets, 0, 1) for _ in range(2)]
    return targets, {"pretrained": [better], "random_init": [worse], "initial": others}


def test_each_resample_draws_the_same_images_for_all(drawn: tuple[np.ndarray, dict[str, list[np.ndarray]]]) -> None:
    targets, scores = drawn
    labeled = {name: [LabeledScores.check(each, targets) for each in own] for name, own in scores.items()}
    found = map_differences(labeled, "pretrained", resamples=RESAMPLES, seed=SEED)
    assert list(found) == ["random_init", "initial"]

    def figure(name: str, rows: np.ndarray) -> float:
        return float(np.mean([mean_average_precision(each[rows], targets[rows]) for each in scores[name]]))

    resampled = np.random.default_rng(SEED).integers(0, IMAGES, (RESAMPLES, IMAGES))
    for name, difference in found.items():
        expected = figure("pretrained", np.arange(IMAGES)) - figure(name, np.arange(IMAGES))
        values = [figure("pretrained", rows) - figure(name, rows) for rows in resampled]
        low, high = np.quantile(values, [0.025, 0.975])
        assert difference["mAP"] == pytest.approx(expected, abs=1e-12)
        assert difference["interval"] == pytest.approx((2 * expected - high, 2 * expected - low), abs=1e-12)


def test_equal_scores_differ_by_nothing(drawn: tuple[np.ndarray, dict[str, list[np.ndarray]]]) -> None:
    targets, scores = drawn
    same = [LabeledScores.check(scores["pretrained"][0], targets)]
    found = map_differences({"random_init": same, "pretrained": same}, "pretrained", resamples=RESAMPLES)
    assert found == {"random_init": {"mAP": 0.0, "interval": (0.0, 0.0)}}


def test_a_loss_may_be_below_zero_in_full(drawn: tuple[np.ndarray, dict[str, list[np.ndarray]]]) -> None:
    targets, scores = drawn
    labeled = {name: [LabeledScores.check(each, targets) for each in own] for name, own in scores.items()}
    found = map_differences(labeled, "initial", resamples=RESAMPLES)["pretrained"]
    assert found["mAP"] < -0.1
    assert found["interval"][0] < found["interval"][1] < 0


def test_without_resamples_or_baselines_there_is_less(drawn: tuple[np.ndarray, dict[str, list[np.ndarray]]]) -> None:
    targets, scores = drawn
    labeled = {name: [LabeledScores.check(each, targets) for each in own] for name, own in scores.items()}
    assert map_differences(labeled, "pretrained", resamples=0)["initial"]["interval"] is None
    assert map_differences({"pretrained": labeled["pretrained"]}, "pretrained") == {}
