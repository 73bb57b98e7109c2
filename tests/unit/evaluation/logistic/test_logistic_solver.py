"""Logistic regression of all classes at once gives what scikit-learn gives one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from manyview.evaluation.logistic import solver
from manyview.evaluation.logistic.basis import Eigenbasis
from manyview.evaluation.logistic.classifiers import fit_logistic, solver_device
from manyview.evaluation.logistic.labels import Labels
from manyview.evaluation.logistic.solver import fit, with_ones


def problem(images: int, dim: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of unequal scales, one a multiple of another, one constant; labels of unequal frequency; others."""
    rng = np.random.default_rng(seed)
    scales = np.exp(rng.normal(size=dim))
    train, val = (rng.normal(size=(count, dim)) * scales + 3 for count in (images, 40))
    for part in (train, val):
        part[:, 1], part[:, 2] = 2 * part[:, 0] - 1, 5.0
    standard = (train - 3) / scales
    logits = standard[:, :8] @ rng.normal(size=(min(8, dim), classes)) + 2 * rng.normal(size=(images, classes))
    return train, (logits > np.linspace(-1, 3, classes)).astype(np.uint8), val


def sklearns(train: np.ndarray, targets: np.ndarray, val: np.ndarray, ignored: np.ndarray, cost: float) -> np.ndarray:
    std = train.std(axis=0)
    std[2] = 1
    own, others = ((part - train.mean(axis=0)) / std for part in (train, val))
    found = []
    for column in range(targets.shape[1]):
        model = LogisticRegression(C=cost, tol=1e-9, max_iter=100_000)
        counted = ignored[:, column] == 0
        found.append(model.fit(own[counted], targets[counted, column]).predict_proba(others)[:, 1])
    return np.stack(found, axis=1)


@pytest.mark.parametrize("cost", [1e-6, 1e-3, 0.1, 1.0, 100.0])
@pytest.mark.parametrize(("images", "dim", "classes"), [(200, 9, 3), (120, 60, 4), (60, 150, 5)])
def test_probabilities_equal_scikit_learns(cost: float, images: int, dim: int, classes: int) -> None:
    train, targets, val = problem(images, dim, classes)
    ignored = (np.random.default_rng(1).random(targets.shape) < 0.1).astype(np.uint8)
    fitted = fit_logistic(torch.from_numpy(train), targets, ignored, costs=[cost])
    expected = sklearns(train, targets, val, ignored, cost)
    np.testing.assert_allclose(fitted.probabilities(torch.from_numpy(val)), expected, rtol=0, atol=1e-4)
    assert (fitted.costs, fitted.unconverged, fitted.choice) == ([cost] * classes, 0, None)


def test_ignored_labels_may_be_anything() -> None:
    train, targets, val = problem(120, 20, 3)
    ignored = np.zeros_like(targets)
    ignored[80:, 1] = 1
    one, other = (
        fit_logistic(torch.from_numpy(train), labels, ignored, costs=[0.1]).probabilities(torch.from_numpy(val))
        for labels in (targets, targets ^ ignored)
    )
    assert torch.equal(one, other)


def test_every_class_has_its_own_cost_and_warm_starts_end_at_the_same_solution() -> None:
    train, targets, _ = problem(150, 30, 3)
    basis = Eigenbasis.of(torch.from_numpy(train))
    features, every = with_ones(basis.rotate(torch.from_numpy(train))), np.ones(3, dtype=bool)
    labels, costs = Labels.of(targets), np.array([1e-3, 0.1, 10.0])
    together = fit(labels.problem(features, every, costs)).weights
    for column, cost in enumerate(costs):
        alone = fit(labels.problem(features, every, np.full(3, cost)), start=together).weights
        torch.testing.assert_close(alone[column], together[column], rtol=0, atol=1e-5)


def test_the_gradient_vanishes_at_the_solution() -> None:
    train, targets, _ = problem(80, 12, 2)
    x = torch.from_numpy(train)
    fitted = fit_logistic(x, targets, costs=[0.5])
    rotated = fitted.basis.rotate(x)
    weights = fitted.weights.clone().requires_grad_()
    logits = rotated @ weights[:, :-1].T + weights[:, -1]
    signs = 2 * torch.from_numpy(targets).double() - 1
    objective = 0.5 * torch.nn.functional.softplus(-signs * logits).sum() + (weights[:, :-1] ** 2).sum() / 2
    (gradient,) = torch.autograd.grad(objective, weights)
    assert float(gradient.abs().max()) < 1e-3


def test_classes_of_one_label_have_no_classifier() -> None:
    train, targets, val = problem(60, 9, 1)
    ones = np.ones(60, dtype=np.uint8)
    labels = np.column_stack([0 * ones, ones, targets[:, 0], ones])
    ignored = np.zeros_like(labels)
    ignored[:, 3] = 1
    fitted = fit_logistic(torch.from_numpy(train), labels, ignored, costs=[1.0])
    found = fitted.probabilities(torch.from_numpy(val))
    assert (found[:, 0] == 0).all()
    assert (found[:, 1] == 1).all()
    assert (found[:, 3] == 0).all()  # no label of it is known
    assert fitted.costs == [None, None, 1.0, None]
    nothing = fit_logistic(torch.from_numpy(train), labels[:, :2])
    assert (nothing.costs, nothing.probabilities(torch.from_numpy(val)).unique().tolist()) == ([None] * 2, [0, 1])


def test_images_without_any_difference_give_the_base_rate() -> None:
    train = torch.full((8, 5), 0.1, dtype=torch.float64)
    targets = np.array([[1], [1], [0], [0], [0], [0], [0], [0]], dtype=np.uint8)
    for costs in ([1.0], None):
        fitted = fit_logistic(train, targets, costs=costs)
        assert fitted.weights.shape == (1, 1)
        assert fitted.probabilities(train[:3]).flatten().tolist() == pytest.approx([0.25] * 3, abs=1e-6)


def test_the_basis_keeps_lengths_and_has_no_more_directions_than_the_features() -> None:
    for images, dim, rank in ((100, 9, 7), (40, 60, 39)):  # one dimension is a multiple, one constant
        train, *_ = problem(images, dim, 1)
        x = torch.from_numpy(train)
        basis = Eigenbasis.of(x)
        assert basis.directions.shape == (dim, rank)
        torch.testing.assert_close(basis.directions.T @ basis.directions, torch.eye(rank, dtype=torch.float64))
        rotated = basis.rotate(x)
        centered = (x - x.mean(dim=0)) / torch.where(basis.scale == 1, 1, x.std(dim=0, correction=0))
        torch.testing.assert_close(rotated @ rotated.T, centered @ centered.T, rtol=0, atol=1e-8)
        covariance = rotated.T @ rotated
        torch.testing.assert_close(covariance, covariance.diagonal().diag(), rtol=0, atol=1e-8)
    assert Eigenbasis.of(x, standardize=False).scale.unique().tolist() == [1]


def test_what_does_not_converge_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "_ITERATIONS", 2)
    train, targets, _ = problem(100, 20, 3)
    assert fit_logistic(torch.from_numpy(train), targets, costs=[100.0]).unconverged == 3


def test_devices_without_float64_leave_the_fit_to_the_cpu() -> None:
    assert [solver_device(torch.device(name)).type for name in ("cuda", "mps", "cpu")] == ["cuda", "cpu", "cpu"]
