"""C of the logistic regressions, chosen by cross-validation on the training labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from manyview.evaluation.logistic.folds import stratified_folds
from manyview.evaluation.logistic.labels import Labels
from manyview.evaluation.logistic.solver import decisions, fit, initial_weights, with_ones
from manyview.evaluation.metrics.average_precision import average_precisions, rank
from manyview.evaluation.metrics.scores import LabeledScores
from manyview.runs.progress import Progress, no_progress

FOLDS = 3
LOWEST, HIGHEST = -6, 2
"""Decades of C that are tried, and ..."""
FAR_LOWEST, FAR_HIGHEST = -10, 4
"""... those that are tried as long as the best C is at an edge."""

THIRDS = (-2, -1, 1, 2)
"""Thirds of a decade from the best decade that are tried then."""

FALLEN = 0.02
"""The path of ascending C ends at a decade whose AP is this far below the best."""

# Of the classifiers of the folds: what counts is the order of their decision values.
_TOLERANCE = 1e-3

ByClass = Float64[np.ndarray, " classes"]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The chosen C of each class.

    Attributes:
        costs: C of each class.
        tried: every C that was tried for all classes, and its mAP in cross-validation; in ascending order.
        at_edge: classes whose best C is the smallest or the largest that may be tried: a better one may lie beyond.
    """

    costs: ByClass
    tried: list[tuple[float, float]]
    at_edge: Bool[np.ndarray, " classes"]


def choose_costs(
    features: Float64[Tensor, "images rank"],
    labels: Labels,
    candidates: Sequence[float] | None = None,
    *,
    by_class: bool = False,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Choice:
    """C of the best average precision on training images that the classifiers were not fitted on.

    Decades from 1e-6 to 1e2 are tried, upwards, each from the solution of the one before; the path ends early at a
    decade that is two points (.02) below the best. A best C at an edge widens the path, to at most 1e-10 and 1e4. Then
    thirds of a decade are tried on both sides of the best decade. Of C with equal average precision, the one with the
    lowest loss is chosen. Where no class has positives and negatives both in a fold and outside, nothing can be
    measured: C is then 1 / the mean squared length of the features, or the smallest candidate.

    Args:
        features: of the training images, in their ``Eigenbasis``.
        labels: of the training images.
        candidates: values to choose from instead.
        by_class: whether each class gets the C of its own best AP; else all get one, that of the best mean.
        seed: of the folds.
        progress: called as work goes on.
    """
    folds = stratified_folds(labels.targets, min(FOLDS, len(features)), seed)
    search = _Search(CrossValidation(features, labels, folds), by_class, progress)
    if candidates is None:
        search.decades()
        search.widen()
        search.thirds()
    else:
        for cost in sorted(candidates):
            search.consider(search.of_all(cost))
    if search.decided:
        return search.choice((10.0**FAR_LOWEST, 10.0**FAR_HIGHEST) if candidates is None else candidates)
    length = float((features**2).sum(dim=1).mean())
    cost = min(candidates) if candidates is not None else 1 / length if length > 0 else 1.0
    return Choice(search.of_all(cost), [], np.zeros(labels.targets.shape[1], dtype=bool))


@dataclass(slots=True, eq=False)
class CrossValidation:
    """Measures of the classifiers for any C on images that they were not fitted on.

    Attributes:
        features: of the training images, in their ``Eigenbasis``.
        labels: of the training images.
        fold_of: the fold of each image.
        starts: by fold, the weights for the last C, from which the next begins.
    """

    features: Float64[Tensor, "images rank"]
    labels: Labels
    fold_of: Int64[np.ndarray, " images"]
    starts: dict[int, Tensor] = field(default_factory=dict)

    def measure(self, costs: ByClass) -> tuple[ByClass, ByClass]:
        """AP and mean loss of each class, means over the folds that have an AP; nan for a class without any."""
        folds = np.array([self._fold(int(fold), costs) for fold in np.unique(self.fold_of)])
        defined = ~np.isnan(folds)
        count = defined.sum(axis=0)
        ap, loss = np.where(defined, folds, 0).sum(axis=0) / np.where(count > 0, count, np.nan)
        return ap, loss

    def _fold(self, fold: int, costs: ByClass) -> Float64[np.ndarray, "2 classes"]:
        held = self.fold_of == fold
        own, others = self.labels.at(~held), self.labels.at(held)
        classes = own.two_sided & (others.targets.sum(axis=0, dtype=np.int64) > 0)
        found = np.full((2, len(costs)), np.nan)
        if not classes.any():
            return found
        outside = torch.from_numpy(~held).to(self.features.device)
        problem = own.problem(with_ones(self.features[outside]), classes, costs)
        start = self.starts.get(fold)
        self.starts[fold] = fit(problem, initial_weights(problem) if start is None else start, _TOLERANCE).weights
        logits = decisions(self.starts[fold], self.features[~outside]).cpu()
        targets, counted = others.targets[:, classes], others.counted[:, classes]
        found[0, classes] = average_precision(torch.sigmoid(logits).numpy(), targets, 1 - counted)
        losses = binary_cross_entropy_with_logits(logits, torch.from_numpy(targets).double(), reduction="none").numpy()
        found[1, classes] = (losses * counted).sum(axis=0) / counted.sum(axis=0)
        return found


def average_precision(scores: np.ndarray, targets: np.ndarray, ignored: np.ndarray) -> ByClass:
    """AP of each class."""
    labeled = LabeledScores.check(scores, targets, ignored)
    return average_precisions(rank(labeled), np.ones((len(scores), 1)))[0]


@dataclass(slots=True, eq=False)
class _Search:
    """What was tried: C, and AP and loss for it, by class or the same for all."""

    validation: CrossValidation
    by_class: bool
    progress: Progress
    costs: list[ByClass] = field(default_factory=list)
    precisions: list[ByClass] = field(default_factory=list)
    losses: list[ByClass] = field(default_factory=list)

    def decades(self) -> None:
        for exponent in range(LOWEST, HIGHEST + 1):
            self.consider(self.of_all(10.0**exponent))
            if not self.decided or self._fallen():
                break

    def widen(self) -> None:
        """Try further decades while the best one of any class is the first or the last."""
        for edge, beyond in (
            (LOWEST, range(LOWEST - 1, FAR_LOWEST - 1, -1)),
            (HIGHEST, range(HIGHEST + 1, FAR_HIGHEST + 1)),
        ):
            for exponent in beyond:
                if not self.decided or not bool((self._best() == 10.0**edge).any()):
                    break
                self.consider(self.of_all(10.0**exponent))
                edge = exponent

    def thirds(self) -> None:
        """Try thirds of a decade around the best decade of each class."""
        if self.decided:
            middle = self._best()
            self.validation.starts.clear()
            for third in THIRDS:
                self.consider(np.array([_rounded(cost * 10 ** (third / 3)) for cost in middle]))

    def choice(self, edges: Sequence[float]) -> Choice:
        best = self._best()
        shared = [each for each in zip(self.costs, self.precisions, strict=True) if np.ptp(each[0]) == 0]
        tried = sorted((float(costs[0]), float(np.mean(ap))) for costs, ap in shared)
        return Choice(best, tried, (best <= min(edges)) | (best >= max(edges)))

    @property
    def decided(self) -> bool:
        """Whether any class has an AP."""
        return not np.isnan(self.precisions[0]).all()

    def of_all(self, cost: float) -> ByClass:
        """The same C for every class."""
        return np.full(self.validation.labels.targets.shape[1], float(cost))

    def consider(self, costs: ByClass) -> None:
        total = HIGHEST - LOWEST + 1 + len(THIRDS)
        self.progress(min(len(self.costs), total), total, "choosing C")
        ap, loss = (_completed(each, self.by_class) for each in self.validation.measure(costs))
        self.costs.append(costs)
        self.precisions.append(ap)
        self.losses.append(loss)

    def _fallen(self) -> bool:
        """Whether the last of the path is clearly below the best, for every class."""
        return bool((self.precisions[-1] < np.max(self.precisions, axis=0) - FALLEN).all())

    def _best(self) -> ByClass:
        """C of the best AP of each class; of equal ones, that of the lowest loss."""
        precisions, losses = np.array(self.precisions), np.array(self.losses)
        equal = precisions >= precisions.max(axis=0) - 1e-12
        rows = np.where(equal, losses, np.inf).argmin(axis=0)
        return np.array(self.costs)[rows, np.arange(len(rows))]


def _completed(found: ByClass, by_class: bool) -> ByClass:
    """The mean over the classes for all, or, by class, for those that have no figure of their own."""
    defined = found[~np.isnan(found)]
    mean = float(defined.mean()) if len(defined) else math.nan
    return np.where(np.isnan(found), mean, found) if by_class else np.full(len(found), mean)


def _rounded(cost: float) -> float:
    """To two digits, as people write it: .0022, not .002154."""
    return float(f"{cost:.2g}")
