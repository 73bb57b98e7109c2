"""The learning rate of each step: a linear warm-up, then a cosine, a constant, or steps at milestones."""

from __future__ import annotations

import math

from manyview.config import PretrainConfig, TrainingConfig
from manyview.errors import UserError


def learning_rate(config: PretrainConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of one optimizer step, of which eta0 is the highest.

    Warm-up, of W steps          eta(t) = eta0 (t + 1) / W
    cosine, from there to T      eta(t) = eta0 (1 + cos(pi (t - W) / (T - W))) / 2
    step, m milestones passed    eta(t) = eta0 factor^m

    With ``schedule_by`` at "epoch", t, W and T are in epochs after the warm-up, and t is whole: the rate stays as it is
    for an epoch. A warm-up always rises from step to step.

    Args:
        config: settled.
        step: from 0, below ``epochs`` x ``steps_per_epoch``.
        steps_per_epoch: optimizer steps.
    """
    training, top = config.training, config.learning_rate
    warmup = warmup_steps(training, steps_per_epoch)
    if step < warmup:
        return top * (step + 1) / warmup
    if training.schedule == "constant":
        return top
    by_step = training.schedule_by == "step"
    if training.schedule == "step":
        epoch = step / steps_per_epoch if by_step else step // steps_per_epoch
        return top * training.milestone_factor ** sum(epoch >= milestone for milestone in training.lowered_at)
    unit = 1 if by_step else steps_per_epoch
    start, end = warmup / unit, training.epochs * steps_per_epoch // unit
    done = max(step // unit - start, 0)
    return top * 0.5 * (1 + math.cos(math.pi * done / (end - start)))


def warmup_steps(training: TrainingConfig, steps_per_epoch: int) -> int:
    """How many steps the learning rate rises."""
    return training.warmup_steps or round(training.warmup_epochs * steps_per_epoch)


def check_warmup(training: TrainingConfig, steps_per_epoch: int) -> None:
    """See whether the warm-up leaves anything of the run.

    Raises:
        UserError: it does not.
    """
    warmup, steps = warmup_steps(training, steps_per_epoch), training.epochs * steps_per_epoch
    if warmup and warmup >= steps:
        key = "warmup_steps" if training.warmup_steps else "warmup_epochs"
        raise UserError(f"the warm-up takes {warmup:,} steps, but the whole run has {steps:,}; lower training.{key}")
