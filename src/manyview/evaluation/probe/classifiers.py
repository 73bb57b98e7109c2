"""One-vs-rest linear classifiers on features of few or many labeled images."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, UInt8

from manyview.errors import require
from manyview.evaluation.logistic.classifiers import fit_logistic

SCALINGS = {"logistic": "standardised", "svm": "unit"}
"""Default scaling of the features of each classifier."""

CPU = torch.device("cpu")

FOLDS = 3
_ITERATIONS, _TOLERANCE = 10_000, 1e-6


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """Settings of the classifiers; checked when made.

    Attributes:
        classifier: "logistic" (L2-regularized logistic regression by L-BFGS), or "svm" (linear, squared hinge loss,
            L2-regularized, positives weighing double, as in the VOC07 protocol of Goyal et al., ICCV 2019).
        costs: scikit-learn's C, the weight of the summed loss against the regularizer. Of several, one is chosen by
            average precision in cross-validation on the drawn images; without any, "logistic" chooses among all
            (``manyview.evaluation.logistic.choice``), and "svm" takes 1.
        cost_by_class: whether "logistic" chooses C for each class instead of one for all; not for "svm", which always
            does.
        scaling: "standardised", every dimension to mean 0 and standard deviation 1 over the drawn images; "unit", every
            image's features to length 1 (the VOC07 protocol's); None for the first with "logistic", the second with
            "svm".

    Raises:
        UserError: if a value is out of range, or ``cost_by_class`` given where nothing reads it.
    """

    classifier: str = "logistic"
    costs: tuple[float | int, ...] = ()
    cost_by_class: bool = False
    scaling: str | None = None

    def __post_init__(self) -> None:
        known = ", ".join(SCALINGS)
        require(self.classifier in SCALINGS, f"classifier must be one of {known}, not {self.classifier!r}")
        for cost in self.costs:
            require(0 < cost < math.inf, f"cost must be above 0, not {cost}")
        if self.cost_by_class:
            svm = 'cost_by_class is for the classifier "logistic", as "svm" chooses C by class anyway: leave it out'
            require(self.classifier != "svm", svm)
            require(len(self.costs) != 1, "cost_by_class chooses C, and one cost gives it: leave out one of them")
        known = ", ".join(SCALINGS.values())
        require(self.scaling in (None, *SCALINGS.values()), f"scaling must be one of {known}, not {self.scaling!r}")

    @property
    def resolved_scaling(self) -> str:
        """The scaling, with the classifier's default for None."""
        return self.scaling or SCALINGS[self.classifier]


@dataclass(frozen=True, slots=True, eq=False)
class Probed:
    """Predictions of the classifiers of all classes.

    Attributes:
        probabilities: sigmoid of the decision values. With "svm" only their order and whether they reach .5 (a decision
            value of 0) are meaningful.
        costs: of each class's classifier; None if there is none, without positives or negatives.
        unconverged: classifiers that did not converge within their most iterations.
        at_edge: classes whose chosen cost is the smallest or the largest that may be chosen.
    """

    probabilities: Float64[np.ndarray, "others classes"]
    costs: list[float | None]
    unconverged: int
    at_edge: int


def draw(targets: UInt8[np.ndarray, "images classes"], fraction: float | int, seed: int) -> Int64[np.ndarray, " drawn"]:
    """Draw a fraction of the images with at least one positive of every class, if possible.

    The images are shuffled. The first positive of each class is drawn, and then images from the beginning until there
    are enough: a plain random draw if that shows every class. If the fraction is too small for all first positives,
    those of the rarest classes are drawn. Otherwise a seed's draws of ascending fractions contain each other.

    Args:
        targets: 1 where an image shows the class, else 0.
        fraction: above 0, at most 1; its product with the number of images is rounded, at least 1.
        seed: of the order.

    Returns:
        indices of the drawn images, ascending.
    """
    assert 0 < fraction <= 1
    order = np.random.default_rng(seed).permutation(len(targets))
    count = max(1, math.floor(fraction * len(targets) + 0.5))
    positives = targets.sum(axis=0, dtype=np.int64)
    rarest_first = [int(column) for column in np.argsort(positives, kind="stable") if positives[column]]
    firsts = targets[order][:, rarest_first].argmax(axis=0).tolist()
    drawn = list(dict.fromkeys([*firsts, *range(len(order))]))[:count]
    return np.sort(order[drawn])


def probe(
    train: Float64[np.ndarray, "images dim"],
    targets: UInt8[np.ndarray, "images classes"],
    val: Float64[np.ndarray, "others dim"],
    settings: ProbeSettings,
    seed: int = 0,
    ignored: UInt8[np.ndarray, "images classes"] | None = None,
    device: torch.device = CPU,
) -> Probed:
    """Fit a classifier for each class, and apply it to the validation images.

    A class without positives gets probability 0 everywhere, one without negatives 1.

    Args:
        train: features of the labeled images.
        targets: 1 where an image shows the class, else 0.
        val: features of the images to classify; scaled as ``train`` was.
        settings: of the classifiers.
        seed: of the folds of the cross-validation, used where costs are chosen.
        ignored: 1 where a label is left out: the class's classifier ignores that image. None for no such label.
        device: to fit logistic regressions on.
    """
    train, val = scale(train, val, settings.resolved_scaling)
    if settings.classifier == "svm":
        return _svm(train, targets, val, settings, seed, ignored)
    own, others = (torch.from_numpy(part).to(device) for part in (train, val))
    by_class = settings.cost_by_class
    # Scaled above, over the drawn images.
    fitted = fit_logistic(
        own, targets, ignored, costs=settings.costs or None, by_class=by_class, standardize=False, seed=seed
    )
    return Probed(fitted.probabilities(others).cpu().numpy(), fitted.costs, fitted.unconverged, fitted.at_edge)


def _svm(
    train: Float64[np.ndarray, "images dim"],
    targets: UInt8[np.ndarray, "images classes"],
    val: Float64[np.ndarray, "others dim"],
    settings: ProbeSettings,
    seed: int,
    ignored: UInt8[np.ndarray, "images classes"] | None,
) -> Probed:
    probabilities = np.empty((len(val), targets.shape[1]))
    candidates = settings.costs or (1.0,)
    costs: list[float | None] = []
    unconverged = at_edge = 0
    for column in range(targets.shape[1]):
        counted = slice(None) if ignored is None else ignored[:, column] == 0
        features, shown = train[counted], targets[counted, column] == 1
        if not shown.any() or shown.all():
            probabilities[:, column] = float(shown.any())
            costs.append(None)
            continue
        cost = _best_cost(features, shown, candidates, seed)
        model, converged = _fit_svm(features, shown, cost)
        probabilities[:, column] = _sigmoid(model.decision_function(val))
        costs.append(float(cost))
        unconverged += not converged
        at_edge += len(candidates) > 1 and cost in (min(candidates), max(candidates))
    return Probed(probabilities, costs, unconverged, at_edge)


def scale(
    train: Float64[np.ndarray, "images dim"], val: Float64[np.ndarray, "others dim"], scaling: str
) -> tuple[Float64[np.ndarray, "images dim"], Float64[np.ndarray, "others dim"]]:
    """Features "standardised" by ``train``'s mean and standard deviation, or of "unit" length; zeros stay."""
    if scaling == "unit":
        lengths = (np.linalg.norm(part, axis=1, keepdims=True) for part in (train, val))
        own, others = (np.where(length > 0, length, 1) for length in lengths)
        return train / own, val / others
    mean, std = train.mean(axis=0), train.std(axis=0)
    # A dimension that is constant but for rounding is centered, not amplified.
    std = np.where(std > 1e-12 * np.abs(mean), std, 1)
    return (train - mean) / std, (val - mean) / std


def _best_cost(
    features: Float64[np.ndarray, "images dim"],
    shown: Bool[np.ndarray, " images"],
    candidates: Sequence[float | int],
    seed: int,
) -> float:
    """The cost of the best mean average precision over the folds; the smallest of equal ones, and without folds."""
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import StratifiedKFold

    costs = sorted(map(float, candidates))
    folds = min(FOLDS, int(shown.sum()), int((~shown).sum()))
    if len(costs) == 1 or folds < 2:
        return costs[0]
    parts = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, shown))

    def precision(cost: float) -> float:
        found = []
        for fit, held_out in parts:
            model, _ = _fit_svm(features[fit], shown[fit], cost)
            found.append(average_precision_score(shown[held_out], model.decision_function(features[held_out])))
        return float(np.mean(found))

    return max(costs, key=precision)


def _fit_svm(
    features: Float64[np.ndarray, "images dim"], shown: Bool[np.ndarray, " images"], cost: float
) -> tuple[Any, bool]:
    """A fitted classifier, and whether it converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    # The primal problem, whose solver is deterministic.
    model = LinearSVC(C=cost, dual=False, class_weight={True: 2, False: 1}, tol=_TOLERANCE, max_iter=_ITERATIONS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(features, shown)
    return model, not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _sigmoid(decisions: Float64[np.ndarray, " images"]) -> Float64[np.ndarray, " images"]:
    """1 / (1 + exp(-d)), at least .5 exactly where d is at least 0."""
    smaller = np.exp(-np.abs(decisions))
    return np.where(decisions >= 0, 1, smaller) / (1 + smaller)
