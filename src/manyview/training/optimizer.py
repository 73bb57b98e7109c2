"""SGD as in SimSiam (arXiv 2011.10566, Section 4 and appendix A)."""

from __future__ import annotations

import math

import torch

from manyview.config import PretrainConfig
from manyview.methods import Method


def make_optimizer(method: Method, config: PretrainConfig) -> torch.optim.SGD:
    """SGD over the method's groups; weight decay on every parameter, norms and biases too, as SimSiam has it."""
    training = config.training
    return torch.optim.SGD(
        [{"constant": False, **group} for group in method.parameter_groups(config)],
        lr=config.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )


def learning_rate(config: PretrainConfig, epoch: int) -> float:
    """The rate eta(e) = eta0 (1 + cos(pi e / E)) / 2 of the whole epoch e of E; eta0 if the schedule is constant."""
    if config.training.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / config.training.epochs))


def set_learning_rate(optimizer: torch.optim.Optimizer, config: PretrainConfig, epoch: int) -> float:
    """Give each group the epoch's learning rate, except those that keep theirs; returns the epoch's."""
    rate = learning_rate(config, epoch)
    for group in optimizer.param_groups:
        if not group["constant"]:
            group["lr"] = rate
    return rate
