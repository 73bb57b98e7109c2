"""L2-regularized logistic regression for all classes at once, by L-BFGS.

The objective of each class is scikit-learn's, C sum_i log(1 + exp(-y_i (w . x_i + b))) + 1/2 |w|^2, with y_i = 1 or -1
and a bias b that is not penalized. The classes share the products with the features, which take nearly all the time,
and are otherwise independent: each has its own history, step and end. The initial inverse Hessian is the Hessian's own
diagonal, which in the eigenbasis of the features (``Eigenbasis``) is most of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

_HISTORY = 10
_ITERATIONS = 2000
_REFRESH = 10  # iterations between computations of the Hessian's diagonal
_ROWS = 4096  # images whose squares are in memory at once
_LINE_STEPS, _LINE_TOLERANCE = 20, 0.3

Weights = Float64[Tensor, "classes rank_and_1"]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Images, labels and regularization of some classes.

    Attributes:
        features: of the images; a last column of ones stands for the bias.
        targets: 1 where an image shows the class, else 0.
        counted: 1 where the label counts, 0 where the class ignores the image.
        costs: C of each class.
    """

    features: Float64[Tensor, "images rank_and_1"]
    targets: Float64[Tensor, "classes images"]
    counted: Float64[Tensor, "classes images"]
    costs: Float64[Tensor, " classes"]

    def of(self, classes: Bool[Tensor, " classes"]) -> Problem:
        """The problem of some of the classes."""
        return Problem(self.features, self.targets[classes], self.counted[classes], self.costs[classes])

    def logits(self, weights: Weights) -> Float64[Tensor, "classes images"]:
        """Decision values, or their change along a direction."""
        return weights @ self.features.T  # this order is the fastest

    def residuals(self, logits: Float64[Tensor, "classes images"]) -> Float64[Tensor, "classes images"]:
        """Derivative of the loss by the logits: C (p - y) where the label counts."""
        return (torch.sigmoid(logits) - self.targets) * (self.counted * self.costs[:, None])

    def curvature(self, logits: Float64[Tensor, "classes images"]) -> Float64[Tensor, "classes images"]:
        """Second derivative of the loss by the logits: C p (1 - p) where the label counts."""
        p = torch.sigmoid(logits)
        return p * (1 - p) * (self.counted * self.costs[:, None])

    def diagonal(self, logits: Float64[Tensor, "classes images"]) -> Weights:
        """The Hessian's diagonal: sum_i C p (1 - p) x_ij^2, and 1 for all but the bias."""
        curvature = self.curvature(logits)
        parts = zip(curvature.split(_ROWS, dim=1), self.features.split(_ROWS), strict=True)
        diagonal = sum((part @ rows**2 for part, rows in parts), start=torch.zeros_like(self.features[:1]))
        diagonal[:, :-1] += 1
        # A class that is certain of every image leaves nothing for its bias.
        return diagonal.clamp(min=1e-12)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Classifiers: their weights, the bias last, and which of them converged."""

    weights: Weights
    converged: Bool[Tensor, " classes"]


def with_ones(features: Float64[Tensor, "images rank"]) -> Float64[Tensor, "images rank_and_1"]:
    """Features with a last column of ones for the bias."""
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)


def decisions(weights: Weights, features: Float64[Tensor, "images rank"]) -> Float64[Tensor, "images classes"]:
    """Logits of images."""
    return (weights[:, :-1] @ features.T).T + weights[:, -1]


def initial_weights(problem: Problem) -> Weights:
    """Zeros, and for the bias the logarithm of the odds of the class."""
    positives = (problem.targets * problem.counted).sum(dim=1)
    weights = problem.features.new_zeros(len(problem.costs), problem.features.shape[1])
    weights[:, -1] = torch.log(positives / (problem.counted.sum(dim=1) - positives))
    return weights


def fit(problem: Problem, start: Weights | None = None, tolerance: float = 1e-5) -> Fitted:
    """Fit the classifiers of all classes, each of which needs positives and negatives.

    Args:
        problem: images, labels and regularization; the features are best given in their ``Eigenbasis``.
        start: weights to start from; None for ``initial_weights``.
        tolerance: a class has converged when sqrt(g' D^-1 g) <= tolerance min(1, sqrt C), with the gradient g and the
            Hessian's diagonal D: about the remaining distance to the solution in the Hessian's norm.
    """
    weights = initial_weights(problem) if start is None else start.clone()
    converged = torch.zeros(len(weights), dtype=torch.bool, device=weights.device)
    running = torch.arange(len(weights), device=weights.device)
    state = _State.begin(problem, weights)
    for iteration in range(_ITERATIONS):
        if iteration % _REFRESH == 0:
            state.refresh()
        done = state.remaining() <= tolerance * problem.costs[running].sqrt().clamp(max=1)
        if bool(done.any()):
            weights[running[done]] = state.weights[done]
            converged[running[done]] = True
            running = running[~done]
            state.keep(~done)
        if not len(running):
            break
        state.step()
    weights[running] = state.weights
    return Fitted(weights, converged)


@dataclass(slots=True, eq=False)
class _State:
    """L-BFGS of the classes that have not converged; pairs of the history are (pairs, classes, rank and 1)."""

    problem: Problem
    weights: Weights
    logits: Float64[Tensor, "classes images"]
    gradient: Weights
    diagonal: Weights
    moves: list[Tensor]
    changes: list[Tensor]

    @classmethod
    def begin(cls, problem: Problem, weights: Weights) -> _State:
        logits = problem.logits(weights)
        state = cls(problem, weights, logits, torch.empty_like(weights), torch.ones_like(weights), [], [])
        state.gradient = state.gradient_at(problem.residuals(logits), weights)
        return state

    def gradient_at(self, residuals: Float64[Tensor, "classes images"], weights: Weights) -> Weights:
        gradient = residuals @ self.problem.features
        gradient[:, :-1] += weights[:, :-1]
        return gradient

    def refresh(self) -> None:
        self.diagonal = self.problem.diagonal(self.logits)

    def remaining(self) -> Float64[Tensor, " classes"]:
        """The gradient's length in the norm of the inverse diagonal."""
        return (self.gradient**2 / self.diagonal).sum(dim=1).sqrt()

    def keep(self, classes: Bool[Tensor, " classes"]) -> None:
        """Go on with some of the classes."""
        self.problem, self.logits = self.problem.of(classes), self.logits[classes]
        self.weights, self.gradient, self.diagonal = (
            each[classes] for each in (self.weights, self.gradient, self.diagonal)
        )
        self.moves, self.changes = ([each[classes] for each in pairs] for pairs in (self.moves, self.changes))

    def step(self) -> None:
        """One step of every class along its own direction."""
        direction = -self._inverse_hessian(self.gradient)
        change = self.problem.logits(direction)
        size, logits, residuals = line_search(self.problem, self.weights, self.logits, direction, change)
        move = size[:, None] * direction
        gradient = self.gradient_at(residuals, self.weights + move)
        self.moves = [*self.moves, move][-_HISTORY:]
        self.changes = [*self.changes, gradient - self.gradient][-_HISTORY:]
        self.weights, self.logits, self.gradient = self.weights + move, logits, gradient

    def _inverse_hessian(self, vector: Weights) -> Weights:
        """Product with the inverse Hessian (Nocedal and Wright, Numerical Optimization, Algorithm 7.4)."""
        pairs = [
            (s, y, _inverse((s * y).sum(dim=1, keepdim=True))) for s, y in zip(self.moves, self.changes, strict=True)
        ]
        result, shares = vector, []
        for s, y, rho in reversed(pairs):
            shares.append(rho * (s * result).sum(dim=1, keepdim=True))
            result = result - shares[-1] * y
        result = result / self.diagonal
        if pairs:
            s, y, rho = pairs[-1]
            scale = _inverse(rho * (y**2 / self.diagonal).sum(dim=1, keepdim=True))
            result = result * torch.where(scale > 0, scale, 1)
        for (s, y, rho), share in zip(pairs, reversed(shares), strict=True):
            result = result + s * (share - rho * (y * result).sum(dim=1, keepdim=True))
        return result


def _inverse(values: Float64[Tensor, "classes 1"]) -> Float64[Tensor, "classes 1"]:
    """1 / values, and 0 for what is not above 0: a pair without curvature (by rounding) is left out."""
    return torch.where(values > 0, 1 / values.clamp(min=torch.finfo(values.dtype).tiny), 0)


def line_search(
    problem: Problem,
    weights: Weights,
    logits: Float64[Tensor, "classes images"],
    direction: Weights,
    change: Float64[Tensor, "classes images"],
) -> tuple[Float64[Tensor, " classes"], Float64[Tensor, "classes images"], Float64[Tensor, "classes images"]]:
    """Step of every class at which the objective's slope is at most .3 of what it was, by Newton's method on the line.

    The objective is convex along the line, so that the zero of its slope lies between the largest step with a falling
    and the smallest with a rising slope that were seen; Newton steps that leave this interval are replaced by its
    middle. Nothing is multiplied with the features.

    Args:
        problem: of the classes.
        weights: where they are.
        logits: of the images at ``weights``.
        direction: of descent.
        change: of the logits along ``direction``.

    Returns:
        the steps, and logits and residuals after them.
    """
    penalty_slope = (weights[:, :-1] * direction[:, :-1]).sum(dim=1)
    penalty_curvature = (direction[:, :-1] ** 2).sum(dim=1)
    slope_before = (problem.residuals(logits) * change).sum(dim=1) + penalty_slope
    low, high = torch.zeros_like(slope_before), torch.full_like(slope_before, torch.inf)
    size = torch.ones_like(slope_before)
    for step in range(_LINE_STEPS):
        after = logits + size[:, None] * change
        residuals = problem.residuals(after)
        slope = (residuals * change).sum(dim=1) + penalty_slope + size * penalty_curvature
        far = slope.abs() > _LINE_TOLERANCE * slope_before.abs()
        if step == _LINE_STEPS - 1 or not bool(far.any()):
            break
        low, high = torch.where(slope <= 0, size, low), torch.where(slope > 0, size, high)
        second = (problem.curvature(after) * change**2).sum(dim=1) + penalty_curvature
        newton = size - slope / second
        inside = (newton > low) & (newton < high)
        middle = torch.where(high.isinf(), 2 * size, (low + high) / 2)
        size = torch.where(far, torch.where(inside, newton, middle), size)
    return size, after, residuals
