"""Logistic regression for every class at once on frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from manyview.evaluation.logistic.basis import Eigenbasis
from manyview.evaluation.logistic.choice import Choice, choose_costs
from manyview.evaluation.logistic.labels import Labels
from manyview.evaluation.logistic.solver import decisions, fit, with_ones
from manyview.runs.progress import Progress, no_progress


@dataclass(frozen=True, slots=True, eq=False)
class LogisticClassifiers:
    """Fitted one-vs-rest classifiers.

    Attributes:
        basis: in which the features are given to them.
        weights: the bias last; 0 for a class without positives or without negatives, ...
        constant: ... whose probability is 0 or 1 here; nan for the other classes.
        costs: C of each class; None if it has no classifier.
        choice: how C was chosen; None if one was given.
        unconverged: classifiers that did not converge.
    """

    basis: Eigenbasis
    weights: Float64[Tensor, "classes rank_and_1"]
    constant: Float64[Tensor, " classes"]
    costs: list[float | None]
    choice: Choice | None
    unconverged: int

    @property
    def at_edge(self) -> int:
        """Classifiers whose chosen C is the smallest or the largest that may be tried."""
        if self.choice is None:
            return 0
        return sum(cost is not None and bool(edge) for cost, edge in zip(self.costs, self.choice.at_edge, strict=True))

    def probabilities(self, features: Float64[Tensor, "others dim"]) -> Float64[Tensor, "others classes"]:
        """Probabilities of images from their features, on the features' device."""
        found = torch.sigmoid(decisions(self.weights, self.basis.rotate(features)))
        return torch.where(self.constant.isnan(), found, self.constant)


def fit_logistic(
    train: Float64[Tensor, "images dim"],
    targets: UInt8[np.ndarray, "images classes"],
    ignored: UInt8[np.ndarray, "images classes"] | None = None,
    *,
    costs: Sequence[float] | None = None,
    by_class: bool = False,
    standardize: bool = True,
    seed: int = 0,
    progress: Progress = no_progress,
) -> LogisticClassifiers:
    """Fit scikit-learn's L2-regularized logistic regression for every class, with C chosen by cross-validation.

    Args:
        train: features of the training images, on the device to compute on.
        targets: 1 where an image shows the class, else 0.
        ignored: 1 where a label is left out: the class's classifier ignores that image. None for no such label.
        costs: C, the weight of the summed loss against 1/2 |w|^2: one, or several to choose from, or None to choose
            among all (``choose_costs``).
        by_class: whether each class gets a C of its own.
        standardize: whether every dimension is scaled to standard deviation 1 over the training images.
        seed: of the folds.
        progress: called as work goes on.
    """
    basis, labels = Eigenbasis.of(train, standardize), Labels.of(targets, ignored)
    features = basis.rotate(train)
    choice = None
    if costs is not None and len(costs) == 1:
        of_class = np.full(targets.shape[1], costs[0], dtype=np.float64)
    else:
        choice = choose_costs(features, labels, costs, by_class=by_class, seed=seed, progress=progress)
        of_class = choice.costs
    own = labels.two_sided
    weights, unconverged = train.new_zeros(targets.shape[1], features.shape[1] + 1), 0
    if own.any():
        fitted = fit(labels.problem(with_ones(features), own, of_class))
        weights[torch.from_numpy(own).to(weights.device)] = fitted.weights
        unconverged = int((~fitted.converged).sum())
    constant = torch.from_numpy(np.where(own, np.nan, labels.targets.any(axis=0)))
    given = [float(cost) if has else None for cost, has in zip(of_class, own, strict=True)]
    return LogisticClassifiers(basis, weights, constant.to(weights.device), given, choice, unconverged)


def solver_device(device: torch.device) -> torch.device:
    """Where the classifiers are fitted: on a CUDA device, else on the CPU, as Apple's devices lack float64."""
    return device if device.type == "cuda" else torch.device("cpu")
