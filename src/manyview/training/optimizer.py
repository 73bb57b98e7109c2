"""Optimizers, by the name of ``training.optimizer``, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from manyview.config import AdamWConfig, LARSConfig, PretrainConfig, SGDConfig, TrainingConfig
from manyview.errors import UserError
from manyview.methods import Method
from manyview.optimizers import SGD, AdamW, Optimizer


def make_optimizer(method: Method, config: PretrainConfig) -> torch.optim.Optimizer:
    """Build the optimizer of a settled configuration for the method's parameter groups.

    SGD applies weight decay to all parameters, including norms and biases, as in SimSiam (arXiv 2011.10566, Section 4
    and appendix A). AdamW and LARS exclude these, and LARS does not adapt their learning rate.

    Args:
        method: method, whose parameters are on the device.
        config: settled configuration, whose ``training`` chooses the class.

    Returns:
        the optimizer, whose groups have "constant": whether ``set_learning_rate`` leaves them alone, "factor": the
        multiple of the learning rate that they have, and "decayed": whether ``set_weight_decay`` changes theirs.
    """
    training, rate = config.training, config.learning_rate
    groups = [{"constant": False, "factor": 1.0, **group} for group in method.parameter_groups(config)]
    if training.backbone_learning_rate_factor != 1 or training.l2_sp > 0:
        groups = list(_backbone_apart(groups, method, training, rate))
    if not isinstance(training, SGDConfig):
        groups = list(_norms_and_biases_apart(groups))
    groups = [{**group, "decayed": "weight_decay" not in group} for group in groups]
    if isinstance(training, AdamWConfig):
        return AdamW(groups, lr=rate, betas=training.betas, weight_decay=training.weight_decay)
    if isinstance(training, LARSConfig):
        return LARS(
            groups,
            lr=rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            trust_coefficient=training.trust_coefficient,
        )
    assert isinstance(training, SGDConfig)
    return SGD(groups, lr=rate, momentum=training.momentum, weight_decay=training.weight_decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all groups of ``make_optimizer`` but those with a constant one, by their factors."""
    for group in optimizer.param_groups:
        if not group["constant"]:
            group["lr"] = rate * group["factor"]


def set_weight_decay(optimizer: torch.optim.Optimizer, decay: float) -> None:
    """Set the weight decay of all groups of ``make_optimizer`` but those that are not decayed at all."""
    for group in optimizer.param_groups:
        if group["decayed"]:
            group["weight_decay"] = decay


def clip_gradients(parameters: Iterable[Tensor], norm: float) -> None:
    """Scale the gradients of all parameters by one factor so that their norm is at most ``norm`` (arXiv 1211.5063).

    DistributedDataParallel has averaged them over the processes by then, so that the factor is the same on all.

    Args:
        parameters: those without a gradient are left out.
        norm: largest Euclidean norm of all gradients taken as one vector.
    """
    torch.nn.utils.clip_grad_norm_(parameters, norm)


def _backbone_apart(
    groups: Iterable[dict[str, Any]], method: Method, training: TrainingConfig, rate: float
) -> Iterator[dict[str, Any]]:
    """Split each group in two: the backbone's parameters, with a rate of their own, then the heads'.

    With L2-SP, the backbone has no weight decay besides (arXiv 1802.01483, Section 3).
    """
    of_backbone = {id(parameter) for parameter in method.backbone.parameters()}
    factor = training.backbone_learning_rate_factor
    own = {"factor": factor, "lr": factor * rate, **({"weight_decay": 0.0} if training.l2_sp > 0 else {})}
    for group in groups:
        backbone = [parameter for parameter in group["params"] if id(parameter) in of_backbone]
        heads = [parameter for parameter in group["params"] if id(parameter) not in of_backbone]
        if backbone:
            yield {**group, "params": backbone, **own}
        if heads:
            yield {**group, "params": heads}


def _norms_and_biases_apart(groups: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Split each group in two: weights, then norm scales and all biases, which are vectors and without weight decay."""
    for group in groups:
        weights = [parameter for parameter in group["params"] if parameter.ndim > 1]
        vectors = [parameter for parameter in group["params"] if parameter.ndim <= 1]
        if weights:
            yield {**group, "params": weights}
        if vectors:
            yield {**group, "params": vectors, "weight_decay": 0.0, "adapt": False}


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (arXiv 1708.03888, Algorithm 1).

        lambda = eta |w| / (|g| + beta |w|)                          (Eq. 6)
        v <- m v + gamma lambda (g + beta w),    w <- w - v

    for each tensor w of weights with its gradient g; gamma is the learning rate, m the momentum, beta the weight decay
    and eta the trust coefficient. Where |w| or the denominator is 0, lambda is 1. In a group with "adapt" False,
    lambda is 1: norms and biases are trained like this (as in SwAV and BYOL, with "weight_decay" 0).

    Args:
        params: parameters or parameter groups.
        lr: gamma.
        momentum: m.
        weight_decay: beta.
        trust_coefficient: eta.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "adapt": True,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One optimizer step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None:
                    self._move(weights, weights.grad, group)
        return loss

    def _move(self, weights: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        direction = gradient.add(weights, alpha=group["weight_decay"])
        if group["adapt"]:
            norm = weights.norm()
            size = gradient.norm() + group["weight_decay"] * norm
            usual = (norm > 0) & (size > 0)
            direction.mul_(torch.where(usual, group["trust_coefficient"] * norm / size, torch.ones_like(norm)))
        state = self.state[weights]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weights)
        weights.sub_(state["momentum_buffer"].mul_(group["momentum"]).add_(direction, alpha=group["lr"]))


def learning_rate(config: PretrainConfig, step: int, steps_per_epoch: int) -> float:
    """Learning rate of one optimizer step; its maximum is eta0, ``config.learning_rate``.

    Warm-up, of W steps          eta(t) = eta0 (t + 1) / W                              (arXiv 1706.02677, Section 2.2)
    cosine, from there to T      eta(t) = eta0 (1 + cos(pi (t - W) / (T - W))) / 2      (arXiv 1608.03983, Eq. 5)
    step, m milestones passed    eta(t) = eta0 factor^m

    With ``schedule_by`` "epoch", t, W and T are in epochs after the warm-up, and t is an integer: the rate is constant
    within an epoch. Warm-up always rises step by step, as the whole schedule does in a run of ``steps``.

    In a run with ``legs``, T and the milestones are those of the length that held at the step. A leg that begins after
    the warm-up begins with W steps in which the rate goes in a straight line from the last one to the schedule's.

    Args:
        config: settled configuration.
        step: optimizer step, from 0, below that of the run's end.
        steps_per_epoch: optimizer steps per epoch.

    Returns:
        from 0 to eta0.
    """
    training = config.training.leg_at(step)
    rate = _scheduled(training, config.learning_rate, step, steps_per_epoch)
    if not training.legs:
        return rate
    began, warmup = training.legs[-1].until, warmup_steps(training, steps_per_epoch)
    rise = min(warmup, training.total_steps(steps_per_epoch) - began)
    if began < warmup or step - began >= rise:
        return rate
    last = learning_rate(config, began - 1, steps_per_epoch)
    return last + (rate - last) * (step - began + 1) / rise


def _scheduled(training: TrainingConfig, top: float, step: int, steps_per_epoch: int) -> float:
    """The rate of a run of one length."""
    warmup = warmup_steps(training, steps_per_epoch)
    if step < warmup:
        return top * (step + 1) / warmup
    if training.schedule == "constant":
        return top
    by_step, total = training.by_step, training.total_steps(steps_per_epoch)
    if training.schedule == "step":
        epoch = step / steps_per_epoch if by_step else step // steps_per_epoch
        lowered = milestones(training, steps_per_epoch)
        return top * training.milestone_factor ** sum(epoch >= milestone for milestone in lowered)
    unit = 1 if by_step else steps_per_epoch
    start, end = warmup / unit, total // unit
    done = max(step // unit - start, 0)
    return top * 0.5 * (1 + math.cos(math.pi * done / (end - start)))


def weight_decay(config: PretrainConfig, step: int, steps_per_epoch: int) -> float:
    """Weight decay of one optimizer step t of T: ``training.weight_decay`` w0, or a cosine from it to the end's w1.

    w(t) = w1 + (w0 - w1) (1 + cos(pi t / T)) / 2                                  (as in the code of arXiv 2104.14294)

    Args:
        config: settled configuration.
        step: optimizer step, from 0, below that of the run's end.
        steps_per_epoch: optimizer steps per epoch.
    """
    training = config.training.leg_at(step)
    start, end = training.weight_decay, training.weight_decay_end
    if end is None:
        return start
    done = step / training.total_steps(steps_per_epoch)
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def warmup_steps(training: TrainingConfig, steps_per_epoch: int) -> int:
    """Number of warm-up steps."""
    if training.warmup_share:
        return int(training.warmup_share * training.total_steps(steps_per_epoch))
    return training.warmup_steps or round(training.warmup_epochs * steps_per_epoch)


def milestones(training: TrainingConfig, steps_per_epoch: int) -> tuple[float, ...]:
    """The epochs at which ``schedule=step`` lowers the learning rate."""
    if training.milestones:
        return training.milestones
    if training.epochs is not None:
        return (0.6 * training.epochs, 0.8 * training.epochs)
    total = training.total_steps(steps_per_epoch)
    return (0.6 * total / steps_per_epoch, 0.8 * total / steps_per_epoch)


def check_schedule(training: TrainingConfig, steps_per_epoch: int) -> None:
    """Check that the warm-up and the steps with a frozen backbone are fewer than the run's, and milestones in it.

    Raises:
        UserError: they do not.
    """
    warmup, steps = warmup_steps(training, steps_per_epoch), training.total_steps(steps_per_epoch)
    if warmup and warmup >= steps:
        key = "warmup_steps" if training.warmup_steps else "warmup_epochs"
        raise UserError(f"the warm-up takes {warmup:,} steps, but the whole run has {steps:,}; lower training.{key}")
    frozen = training.freeze_backbone_steps
    if frozen and frozen >= steps:
        raise UserError(
            f"the backbone is frozen for {frozen:,} steps, but the whole run has {steps:,}, so that it would not be "
            "trained at all; lower training.freeze_backbone_steps"
        )
    last = milestones(training, steps_per_epoch)[-1]
    if training.schedule == "step" and last * steps_per_epoch >= steps:
        raise UserError(
            f"training.milestones ends with {last:g} epochs, but the whole run has {steps / steps_per_epoch:.3g}; "
            "lower them"
        )
