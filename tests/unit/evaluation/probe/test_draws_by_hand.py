"""Draws with ignored labels, and costs that are judged on held-out images, against computations of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import LinearSVC

from manyview.evaluation.data import Data, LabeledSplit
from manyview.evaluation.metrics.multilabel import METRICS, multilabel_metrics
from manyview.evaluation.probe.classifiers import CPU, ProbeSettings, draw, probe, scale
from manyview.evaluation.probe.evaluate import Draws, _curve, _Plan
from manyview.evaluation.session import SplitFeatures
from manyview.evaluation.settings import MetricSettings
from manyview.labels import ImageLabels
from manyview.runs.progress import no_progress


def split(rng: np.random.Generator, count: int) -> tuple[LabeledSplit, torch.Tensor]:
    """Images of three classes with ignored labels, and features that tell something of the classes."""
    targets = (rng.random((count, 3)) < 0.4).astype(np.uint8)
    ignored = ((rng.random((count, 3)) < 0.3) & (targets == 0)).astype(np.uint8)
    names = tuple(f"{index}.jpg" for index in range(count))
    labels = ImageLabels(names, ("a", "b", "c"), targets, ignored)
    features = rng.normal(size=(count, 6)) + targets @ rng.normal(size=(3, 6))
    return LabeledSplit(Path("labels"), Path("images"), labels), torch.from_numpy(features)


def test_each_draw_has_its_own_images_labels_and_ignored_labels() -> None:
    rng = np.random.default_rng(0)
    (train, own), (val, others) = split(rng, 60), split(rng, 40)
    settings, form = ProbeSettings(costs=(0.1,)), MetricSettings(0.4, "voc07", "ml-gcn")
    plan = _Plan(Draws((0.5,), (3, 4)), settings, form, CPU)

    [entry], scores = _curve("pretrained", SplitFeatures(own, others), Data(train, val), plan, no_progress)

    targets, ignored = train.labels.targets, train.labels.ignored
    assert ignored is not None
    assert [run["seed"] for run in entry["runs"]] == [3, 4]
    for run, found in zip(entry["runs"], scores, strict=True):
        drawn = draw(targets, 0.5, run["seed"])
        expected = probe(own.numpy()[drawn], targets[drawn], others.numpy(), settings, run["seed"], ignored[drawn])
        np.testing.assert_array_equal(found, expected.probabilities)
        metrics = multilabel_metrics(
            found,
            val.labels.targets,
            0.4,
            average_precision="voc07",
            compatibility="ml-gcn",
            ignored=val.labels.ignored,
        )
        assert {name: run[name] for name in METRICS} == {name: metrics[name] for name in METRICS}
        assert run["positives"] == targets[drawn].sum(axis=0).tolist()


def test_costs_are_judged_on_images_that_were_not_fitted() -> None:
    """Of more dimensions than images, the largest cost would always seem the best."""
    rng = np.random.default_rng(1)
    shown = rng.random(45) < 0.4
    train = rng.normal(size=(45, 60))
    train[:, 0] += 3 * shown
    costs = (0.01, 1.0, 100.0)
    own, _ = scale(train, train, "unit")

    def machine(cost: float) -> LinearSVC:
        return LinearSVC(C=cost, dual=False, class_weight={0: 1, 1: 2}, tol=1e-6, max_iter=10_000)

    folds = StratifiedKFold(3, shuffle=True, random_state=5)
    honest = [
        cross_val_score(machine(cost), own, shown, cv=folds, scoring="average_precision").mean() for cost in costs
    ]
    fitted = [average_precision_score(shown, machine(cost).fit(own, shown).decision_function(own)) for cost in costs]
    assert int(np.argmax(honest)) != int(np.argmax(fitted))

    probed = probe(train, shown[:, None].astype(np.uint8), train[:2], ProbeSettings("svm", costs), seed=5)

    assert probed.costs == [pytest.approx(costs[int(np.argmax(honest))])]
