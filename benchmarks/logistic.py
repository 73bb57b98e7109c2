"""Logistic regression for every class on frozen features, with regularization chosen by cross-validation.

The objective is scikit-learn's, 1/2 |w|^2 + C sum_i log(1 + exp(-y_i (w . x_i + b))) for each class, on features
standardized by the training images. One C serves all classes: that of the best mean average precision over folds of
the training images. All classes and folds are fitted at once by Newton's method in float64: seconds on a GPU, and on a
CPU only for few images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor
from torch.nn import functional as F

from manyview.evaluation import multilabel_metrics

COSTS = tuple(float(f"{10**exponent:.2g}") for exponent in np.arange(-5, 0.6, 0.5))
FOLDS = 3
_ITERATIONS, _TOLERANCE = 50, 1e-9


def logistic(
    train: Float64[Tensor, "images dim"],
    targets: UInt8[np.ndarray, "images classes"],
    val: Float64[Tensor, "others dim"],
    val_targets: UInt8[np.ndarray, "others classes"],
    device: torch.device,
) -> dict[str, Any]:
    """Multi-label metrics on the validation images, the chosen C, and the mAP of each C in cross-validation."""
    mean, std = train.mean(dim=0), train.std(dim=0, correction=0)
    std = torch.where(std > 1e-12 * mean.abs(), std, 1)
    x, others = (((part - mean) / std).to(device) for part in (train, val))
    y = torch.from_numpy(targets).to(device, torch.float64)
    fold_of = torch.from_numpy(np.random.default_rng(0).permutation(len(y)) % FOLDS).to(device)
    # A column of sample weights for each problem: one without each fold, and one with all images.
    counted = torch.stack([fold_of != fold for fold in range(FOLDS)] + [torch.ones_like(fold_of, dtype=torch.bool)])
    start, validated, fitted = None, {}, {}
    for cost in COSTS:
        start = fit(x, y, counted.T.double(), cost, start)
        scores = torch.sigmoid(predict(x, start))
        folds = [
            multilabel_metrics(scores[fold, fold_of == fold].cpu().numpy(), targets[(fold_of == fold).cpu().numpy()])
            for fold in range(FOLDS)
        ]
        validated[cost] = float(np.mean([metrics["mAP"] for metrics in folds]))
        fitted[cost] = start[-1:]
    best = max(validated, key=lambda cost: validated[cost])
    metrics = multilabel_metrics(torch.sigmoid(predict(others, fitted[best]))[0].cpu().numpy(), val_targets)
    return {**metrics, "cost": best, "cross_validated": validated}


def fit(
    x: Float64[Tensor, "images dim"],
    y: Float64[Tensor, "images classes"],
    weights: Float64[Tensor, "images problems"],
    cost: float,
    start: Float64[Tensor, "problems dim_and_1 classes"] | None = None,
) -> Float64[Tensor, "problems dim_and_1 classes"]:
    """Weights, the bias last, of every class in every problem, which differ in how much each image counts."""
    problems, classes = weights.shape[1], y.shape[1]
    x1 = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    dim = x1.shape[1]
    # One row for each class of each problem; the bias is not penalized.
    w = x.new_zeros(problems * classes, dim) if start is None else start.transpose(1, 2).reshape(-1, dim).clone()
    penalty = torch.ones(dim, dtype=x.dtype, device=x.device)
    penalty[-1] = 0
    target, counted = y.T.repeat(problems, 1), cost * weights.T.repeat_interleave(classes, dim=0)

    def objective(w: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(w @ x1.T, target, reduction="none")
        return (counted * losses).sum(dim=1) + 0.5 * (penalty * w**2).sum(dim=1)

    value = objective(w)
    for _ in range(_ITERATIONS):
        share = torch.sigmoid(w @ x1.T)
        gradient = (counted * (share - target)) @ x1 + penalty * w
        curvature = counted * share * (1 - share)
        hessian = torch.stack([(x1.T * row) @ x1 for row in curvature]) + torch.diag(penalty + 1e-6)
        step = torch.cholesky_solve(gradient[:, :, None], torch.linalg.cholesky(hessian))[:, :, 0]
        size = torch.ones_like(value)
        for _ in range(30):  # a row takes half a step, and again half, until its objective does not rise
            after = objective(w - size[:, None] * step)
            size = torch.where(after > value * (1 + 1e-14), size / 2, size)
            if bool((after <= value * (1 + 1e-14)).all()):
                break
        w = w - size[:, None] * step
        gain, value = value - objective(w), objective(w)
        if bool((gain <= _TOLERANCE * value).all()):
            break
    return w.reshape(problems, classes, dim).transpose(1, 2)


def predict(
    x: Float64[Tensor, "images dim"], w: Float64[Tensor, "problems dim_and_1 classes"]
) -> Float64[Tensor, "problems images classes"]:
    """Logits."""
    return x @ w[:, :-1] + w[:, -1:]
