"""C of the best average precision on images that the classifiers were not fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss

from manyview.evaluation.logistic import choice as module
from manyview.evaluation.logistic.basis import Eigenbasis
from manyview.evaluation.logistic.choice import CrossValidation, choose_costs
from manyview.evaluation.logistic.classifiers import fit_logistic
from manyview.evaluation.logistic.folds import stratified_folds
from manyview.evaluation.logistic.labels import Labels


def data(noise: float, images: int = 150, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(images, 30))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    logits = x @ rng.normal(size=(30, 3)) + noise * rng.normal(size=(images, 3))
    features = torch.from_numpy(x)
    return Eigenbasis.of(features).rotate(features), (logits > 0.5).astype(np.uint8)


def test_folds_are_measured_on_images_that_were_not_fitted() -> None:
    x, targets = data(noise=4)
    ignored = (np.random.default_rng(1).random(targets.shape) < 0.1).astype(np.uint8)
    folds = stratified_folds(targets, 3, seed=4)
    ap, loss = CrossValidation(x, Labels.of(targets, ignored), folds).measure(np.array([0.1, 0.1, 0.01]))
    for column, cost in enumerate((0.1, 0.1, 0.01)):
        aps, losses = [], []
        for fold in range(3):
            counted = ignored[:, column] == 0
            own, held = (folds != fold) & counted, (folds == fold) & counted
            model = LogisticRegression(C=cost, tol=1e-9, max_iter=10_000).fit(x[own], targets[own, column])
            scores = model.predict_proba(x[held])[:, 1]
            aps.append(average_precision_score(targets[held, column], scores))
            losses.append(log_loss(targets[held, column], scores))
        assert ap[column] == pytest.approx(np.mean(aps), abs=1e-3)
        assert loss[column] == pytest.approx(np.mean(losses), abs=1e-3)


def test_one_cost_for_all_classes_is_the_best_of_the_mean() -> None:
    x, targets = data(noise=4)
    chosen = choose_costs(x, Labels.of(targets), seed=1)
    costs, maps = zip(*chosen.tried, strict=True)
    assert len(set(chosen.costs.tolist())) == 1
    assert maps[costs.index(chosen.costs[0])] == max(maps)
    assert list(costs) == sorted(costs)
    assert {1e-6, 1e-5, 1e-4, 1e-3, 1e-2} <= set(costs)
    assert not chosen.at_edge.any()
    best_decade = max(
        (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, *(cost for cost in (0.1, 1.0) if cost in costs)),
        key=lambda cost: maps[costs.index(cost)],
    )
    expected = [float(f"{best_decade * 10 ** (third / 3):.2g}") for third in (-2, -1, 1, 2)]
    assert set(expected) <= set(costs)
    again = choose_costs(x, Labels.of(targets), seed=1)
    assert again.tried == chosen.tried


def test_by_class_each_class_gets_its_own_best() -> None:
    x, targets = data(noise=4)
    costs = (1e-4, 1e-2, 1.0)
    chosen = choose_costs(x, Labels.of(targets), costs, by_class=True, seed=1)
    validation = CrossValidation(x, Labels.of(targets), stratified_folds(targets, 3, 1))
    aps = np.array([validation.measure(np.full(3, cost))[0] for cost in costs])
    assert chosen.costs.tolist() == [costs[row] for row in aps.argmax(axis=0)]
    # In the search over all, classes whose best decades differ try other thirds.
    searched = choose_costs(x, Labels.of(targets), by_class=True, seed=1)
    assert searched.costs.shape == (3,)
    for column, cost in enumerate(searched.costs):
        validation.starts.clear()
        assert validation.measure(np.full(3, cost))[0][column] >= aps[:, column].max() - 1e-3


def test_the_path_ends_where_precision_has_fallen(monkeypatch: pytest.MonkeyPatch) -> None:
    precisions = {-6: 0.30, -5: 0.32, -4: 0.33, -3: 0.315, -2: 0.309, -1: 0.4}
    chosen = searched(monkeypatch, lambda exponent: precisions.get(round(exponent), 0.2))
    # -3 is 1.5 points below -4; -2 is 2.1.
    tried = [cost for cost, _ in chosen.tried]
    assert (1e-2 in tried, 1e-1 in tried) == (True, False)
    assert chosen.costs[0] == 1e-4


@pytest.mark.parametrize(
    ("best", "edge"), [(-9, False), (-12, True), (-10, True), (3, False), (4, True), (6, True), (-6, False), (2, False)]
)
def test_a_best_cost_at_the_edge_widens_the_path_or_is_reported(
    monkeypatch: pytest.MonkeyPatch, best: int, edge: bool
) -> None:
    chosen = searched(monkeypatch, lambda exponent: 0.5 - abs(exponent - best) / 1000)
    expected = min(max(best, -10 - 2 / 3), 4 + 2 / 3)
    assert np.log10(chosen.costs) == pytest.approx([expected] * 2, abs=0.03)
    assert chosen.at_edge.tolist() == [edge] * 2


def test_of_equal_precision_the_lowest_loss_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = searched(monkeypatch, lambda exponent: 1.0, lambda exponent: abs(exponent + 3.3))
    assert chosen.costs.tolist() == [4.6e-4] * 2


def searched(monkeypatch: pytest.MonkeyPatch, precision: Any, loss: Any = lambda exponent: 0.0) -> Any:
    """The choice where a function of C's exponent takes the place of the cross-validation."""

    def measure(self: CrossValidation, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        exponents = np.log10(costs)
        return tuple(np.array([of(exponent) for exponent in exponents]) for of in (precision, loss))

    monkeypatch.setattr(module.CrossValidation, "measure", measure)
    return choose_costs(torch.zeros(6, 2, dtype=torch.float64), Labels.of(np.zeros((6, 2), dtype=np.uint8)))


def test_candidates_at_their_edge_are_reported() -> None:
    x, targets = data(noise=4)
    chosen = choose_costs(x, Labels.of(targets), (0.1, 1e-9, 1e-7))
    assert (chosen.costs.tolist(), chosen.at_edge.tolist()) == ([0.1] * 3, [True] * 3)
    assert [cost for cost, _ in chosen.tried] == [1e-9, 1e-7, 0.1]


def test_classes_without_a_classifier_have_no_cost_at_an_edge() -> None:
    x, targets = data(noise=4)
    targets = np.column_stack([targets[:, 0], np.zeros(150), np.ones(150)]).astype(np.uint8)
    for by_class in (False, True):
        fitted = fit_logistic(x, targets, costs=(0.1, 1e-9), by_class=by_class)
        assert (fitted.costs, fitted.at_edge) == ([0.1, None, None], 1)


def test_without_anything_to_measure_the_features_length_decides() -> None:
    x = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 6.0], [0.0, -6.0]], dtype=torch.float64)
    one = np.array([[1], [0], [0], [0]], dtype=np.uint8)
    chosen = choose_costs(x, Labels.of(one))
    assert (chosen.costs.tolist(), chosen.tried) == ([1 / 22.5], [])
    assert choose_costs(x, Labels.of(one), (3.0, 0.5)).costs.tolist() == [0.5]
    assert choose_costs(x[:1], Labels.of(one[:1])).costs.tolist() == [1 / 9]


@pytest.mark.parametrize("seed", range(4))
def test_folds_share_out_the_positives_of_every_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = (rng.random((300, 6)) < [0.5, 0.2, 0.1, 0.05, 0.02, 0.02]).astype(np.uint8)
    targets[:3, 5] = 1
    for folds in (3, 5):
        fold_of = stratified_folds(targets, folds, seed)
        sizes = np.bincount(fold_of, minlength=folds)
        counts = np.array([targets[fold_of == fold].sum(axis=0) for fold in range(folds)])
        assert np.ptp(sizes) <= 0.1 * sizes.mean()
        assert (counts[:, targets.sum(axis=0) >= folds] > 0).all()
        assert (np.ptp(counts, axis=0) <= np.maximum(3, 0.12 * counts.mean(axis=0))).all()
    assert np.array_equal(fold_of, stratified_folds(targets, 5, seed))
    assert not np.array_equal(fold_of, stratified_folds(targets, 5, seed + 1))
