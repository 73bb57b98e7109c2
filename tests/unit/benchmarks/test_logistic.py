"""Logistic regression on all classes at once gives what scikit-learn gives one by one."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from benchmarks import logistic as module
from benchmarks.logistic import COSTS, FOLDS, cross_validated, fit, logistic, predict


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(160, 12))
    truth = generator.normal(size=(12, 3))
    y = (x @ truth + 2 * generator.normal(size=(160, 3)) > 0.5).astype(np.uint8)
    return x, y


@pytest.mark.parametrize("cost", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("warm", [False, True])
def test_fits_equal_scikit_learns(data, cost, warm):
    x, y = (torch.from_numpy(part).double() for part in data)
    w = fit(x, y, cost, fit(x, y, 30 * cost) if warm else None)
    logits = predict(x, w).numpy()
    for column in range(y.shape[1]):
        model = LogisticRegression(C=cost, tol=1e-10, max_iter=10_000).fit(data[0], data[1][:, column])
        np.testing.assert_allclose(logits[:, column], model.decision_function(data[0]), atol=1e-4)


def test_folds_are_measured_on_images_that_were_not_fitted(data):
    x, y = data
    fold_of = np.random.default_rng(0).permutation(len(x)) % FOLDS
    precisions = []
    for fold in range(FOLDS):
        held = fold_of == fold
        models = [LogisticRegression(C=0.1, tol=1e-10, max_iter=10_000).fit(x[~held], column[~held]) for column in y.T]
        scores = [model.predict_proba(x[held])[:, 1] for model in models]
        precisions += [average_precision_score(column[held], found) for column, found in zip(y.T, scores, strict=True)]
    found = cross_validated(torch.from_numpy(x), torch.from_numpy(y).double(), y)
    assert found[0.1] == pytest.approx(np.mean(precisions), abs=1e-9)


def test_the_cost_is_the_best_of_the_training_folds(data):
    x, y = data
    train, val = torch.from_numpy(x[:100] * 5 + 3), torch.from_numpy(x[100:] * 5 + 3)
    found = logistic(train, y[:100], val, y[100:], torch.device("cpu"))
    assert set(found["cross_validated"]) == set(COSTS)
    assert found["cross_validated"][found["cost"]] == max(found["cross_validated"].values())
    assert found["mAP"] > 0.7 > y[100:].mean()
    assert not found["cost_at_edge"]


def test_a_cost_at_the_edge_of_the_grid_is_reported(data, monkeypatch):
    x, y = data
    train, val = torch.from_numpy(x[:100]), torch.from_numpy(x[100:])
    monkeypatch.setattr(module, "COSTS", (1e-9, 1e-7, 0.1))
    found = logistic(train, y[:100], val, y[100:], torch.device("cpu"))
    assert (found["cost"], found["cost_at_edge"]) == (0.1, True)
