"""Logistic regression on all classes and folds at once gives what scikit-learn gives one by one."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from benchmarks.logistic import COSTS, FOLDS, fit, logistic, predict


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(160, 12))
    truth = generator.normal(size=(12, 3))
    y = (x @ truth + 2 * generator.normal(size=(160, 3)) > 0.5).astype(np.uint8)
    return x, y


@pytest.mark.parametrize("cost", [1e-3, 0.1, 10.0])
def test_fits_equal_scikit_learns(data, cost):
    x, y = data
    counted = np.random.default_rng(1).random((2, len(x))) < 0.7
    weights = torch.from_numpy(counted.T.astype(np.float64))
    w = fit(torch.from_numpy(x), torch.from_numpy(y).double(), weights, cost)
    logits = predict(torch.from_numpy(x), w).numpy()
    for problem, rows in enumerate(counted):
        for column in range(y.shape[1]):
            model = LogisticRegression(C=cost, tol=1e-10, max_iter=10_000).fit(x[rows], y[rows, column])
            np.testing.assert_allclose(logits[problem, :, column], model.decision_function(x), atol=1e-4)


def test_the_cost_is_the_best_of_the_training_folds(data):
    x, y = data
    train, val = torch.from_numpy(x[:100] * 5 + 3), torch.from_numpy(x[100:] * 5 + 3)
    found = logistic(train, y[:100], val, y[100:], torch.device("cpu"))
    assert set(found["cross_validated"]) == set(COSTS)
    assert found["cross_validated"][found["cost"]] == max(found["cross_validated"].values())
    assert found["mAP"] > 0.7 > y[100:].mean()
    assert FOLDS == 3
