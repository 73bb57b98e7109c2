from __future__ import annotations

import math
import statistics
import tracemalloc

import numpy as np
import pytest
import torch

from manyview.errors import UserError
from manyview.evaluation.metrics import bootstrap as confidence
from manyview.evaluation.metrics.bootstrap import bootstrap, summarize
from manyview.evaluation.metrics.multilabel import multilabel_metrics
from tests.references.multilabel import basic, bias_corrected, multilabel, random_case, random_ignored

NAMES = ("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1")


def assert_same(actual: dict, expected: dict, tolerance: float = 1e-9) -> None:
    assert list(actual) == list(expected) == list(NAMES)
    for name in NAMES:
        assert actual[name] == pytest.approx(expected[name], abs=tolerance, rel=0, nan_ok=True), name


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("ap", ["all_points", "voc07"])
def test_equals_the_definition_on_images_drawn_with_replacement(seed: int, ap: str) -> None:
    scores, targets = random_case(seed)
    ignored = random_ignored(seed, targets.shape) if seed % 2 else None
    ml_gcn = seed % 4 == 0  # with a threshold that some class never reaches
    threshold = 0.9 if ml_gcn else np.linspace(0.3, 0.7, scores.shape[1]).tolist()
    top_k = 1 if seed % 5 == 0 else None

    def definition(images: np.ndarray) -> dict:
        return multilabel(
            scores[images].tolist(),
            targets[images].tolist(),
            threshold,
            top_k,
            ignored=None if ignored is None else ignored[images].tolist(),
            ap=ap,
            ml_gcn=ml_gcn,
        )

    drawn = np.random.default_rng(7).integers(0, len(scores), (30, len(scores)))
    resampled, own = [definition(images) for images in drawn], definition(np.arange(len(scores)))
    expected = {
        name: (basic if name == "mAP" else bias_corrected)([metrics[name] for metrics in resampled], own[name], 0.9)
        for name in NAMES
    }
    actual = bootstrap(
        scores,
        targets,
        threshold,
        top_k,
        average_precision=ap,
        compatibility="ml-gcn" if ml_gcn else None,
        ignored=ignored,
        resamples=30,
        seed=7,
        confidence=0.9,
    )
    assert_same(actual, expected)


def test_a_class_that_loses_its_positives_is_left_out_of_that_resamples_map() -> None:
    # Class 0's AP is 1 wherever it is defined: counted as 0 where it is not, it would draw the lower end down.
    scores, targets = np.array([[0.9], [0.1], [0.1]]), np.array([[1], [0], [0]])
    assert bootstrap(scores, targets)["mAP"] == (1, 1)
    assert bootstrap(scores, targets)["CR"] == (0, 1)


def test_without_any_positive_the_interval_of_map_is_undefined() -> None:
    intervals = bootstrap(np.full((4, 2), 0.7), np.zeros((4, 2), int), resamples=20)
    assert all(map(math.isnan, intervals.pop("mAP")))
    assert set(intervals.values()) == {(0.0, 0.0)}


def test_the_interval_of_map_holds_the_truth_where_classes_have_few_positives() -> None:
    """The AP of scores that know nothing is the share of positives, but a third higher by chance in 100 images."""
    share, held, figures = 0.05, 0, []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores, targets = rng.random((100, 5)), rng.random((100, 5)) < share
        low, high = bootstrap(scores, targets.astype(int), resamples=100, seed=seed)["mAP"]
        held += low <= share <= high
        figures.append(multilabel_metrics(scores, targets.astype(int))["mAP"])
    assert np.mean(figures) > 1.3 * share
    assert held / 60 > 0.8


def test_one_image_leaves_no_doubt() -> None:
    scores, targets = np.array([[0.9, 0.2, 0.6]]), np.array([[1, 1, 0]])
    point = multilabel_metrics(scores, targets)
    assert_same(bootstrap(scores, targets, resamples=10), {name: (point[name], point[name]) for name in NAMES}, 1e-12)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_the_interval_of_a_proportion_is_that_of_the_binomial_distribution(share: float) -> None:
    images = 500
    scores = np.where(np.arange(images) < share * images, 0.9, 0.1)[:, None]
    low, high = bootstrap(scores, np.ones((images, 1)), resamples=4000, seed=3)["OR"]
    reach = 1.96 * math.sqrt(share * (1 - share) / images)
    assert (low, high) == pytest.approx((share - reach, share + reach), abs=0.006)


def test_the_interval_narrows_with_more_images_and_widens_with_more_confidence() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (1600, 3))
    scores = np.clip(0.5 * targets + 0.7 * rng.random(targets.shape), 0, 1)

    def width(count: int, confidence: float = 0.95) -> float:
        low, high = bootstrap(scores[:count], targets[:count], resamples=400, confidence=confidence)["mAP"]
        return high - low

    assert width(1600) == pytest.approx(width(100) / 4, rel=0.3)
    assert width(100, 0.99) > width(100, 0.95) > width(100, 0.5) > 0


def test_the_seed_decides_and_the_size_of_the_blocks_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, targets = random_case(2)
    first = bootstrap(scores, targets, resamples=50, seed=1)
    assert bootstrap(torch.from_numpy(scores), targets.tolist(), resamples=50, seed=1) == first
    assert bootstrap(scores, targets, resamples=50, seed=2) != first
    for numbers in (1, 3 * len(scores), 49 * len(scores)):
        monkeypatch.setattr(confidence, "BLOCK_NUMBERS", numbers)
        assert_same(bootstrap(scores, targets, resamples=50, seed=1), first, 1e-12)


def test_memory_does_not_grow_with_the_resamples() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.random((4000, 2)), rng.integers(0, 2, (4000, 2))
    bootstrap(scores, targets, resamples=1)
    tracemalloc.start()
    bootstrap(scores, targets, resamples=1500)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6  # all resamples at once: 48 MB for the weights alone


def test_progress_counts_the_resamples() -> None:
    calls: list[tuple[int, int, str]] = []
    scores, targets = random_case(2)
    bootstrap(scores, targets, resamples=9, progress=lambda *call: calls.append(call))
    assert calls[0] == (0, 9, "confidence intervals")
    assert calls[-1] == (9, 9, "confidence intervals")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resamples": 0}, "resamples must be at least 1, not 0"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"confidence": 1.0}, "confidence is a share above 0 and below 1, e.g. 0.95, not 1.0"),
        ({"confidence": 0.0}, "confidence is a share"),
        ({"confidence": math.nan}, "confidence is a share"),
        ({"threshold": 2}, "threshold is a probability"),
    ],
)
def test_mistakes_are_named(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        bootstrap(np.array([[0.5]]), np.array([[1]]), **options)


def test_runs_are_summarized_by_mean_and_sample_standard_deviation() -> None:
    runs = [multilabel_metrics(*random_case(1)[:1], targets) for targets in _three_targets()]
    summary = summarize(runs)
    assert list(summary) == list(runs[0])
    for name in NAMES:
        values = [run[name] for run in runs]
        expected = {"mean": statistics.fmean(values), "std": statistics.stdev(values), "n": 3}
        assert summary[name] == pytest.approx(expected, abs=1e-12)
        assert type(summary[name]["mean"]) is type(summary[name]["std"]) is float
    for c in range(len(runs[0]["recall"])):
        values = [run["recall"][c] for run in runs]
        assert summary["recall"]["mean"][c] == pytest.approx(statistics.fmean(values), abs=1e-12)
        assert summary["recall"]["std"][c] == pytest.approx(statistics.stdev(values), abs=1e-12)


def _three_targets() -> list[np.ndarray]:
    shape = random_case(1)[1].shape
    return [(np.random.default_rng(seed).random(shape) < 0.5).astype(int) for seed in range(3)]


def test_one_run_has_no_deviation() -> None:
    summary = summarize([{"mAP": 0.5, "AP": [0.25, 0.75]}])
    assert (summary["mAP"]["mean"], summary["mAP"]["n"]) == (0.5, 1)
    assert math.isnan(summary["mAP"]["std"])
    assert all(map(math.isnan, summary["AP"]["std"]))


def test_what_one_run_leaves_undefined_stays_undefined() -> None:
    summary = summarize([{"AP": [0.5, None]}, {"AP": [0.7, 0.2]}, {"AP": [0.6, math.nan]}])["AP"]
    assert (summary["mean"][0], summary["std"][0], summary["n"]) == pytest.approx((0.6, 0.1, 3))
    assert math.isnan(summary["mean"][1])
    assert math.isnan(summary["std"][1])


def test_further_entries_and_metrics_of_some_runs_alone_are_passed_over() -> None:
    runs = [{"rule": "p>=0.5", "mAP": 0.5, "f1": [0.1], "loss_by_epoch": [3.0, 2.0]}, {"rule": "top-3", "mAP": 0.5}]
    assert summarize(runs) == {"mAP": {"mean": 0.5, "std": 0.0, "n": 2}}


def test_runs_that_cannot_be_summarized_are_refused() -> None:
    with pytest.raises(UserError, match="no run to summarize"):
        summarize([])
    with pytest.raises(UserError, match="AP for different numbers of classes"):
        summarize([{"AP": [0.5]}, {"AP": [0.5, 0.5]}])
