"""Precise batch normalization: population statistics measured with the current weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from manyview import distributed

Statistics = dict[str, tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]]
"""Mean and variance of each norm's input, by the norm's name."""


class _Moments:
    """Sums over batches of a norm's batch mean and batch mean of squares."""

    def __init__(self, channels: int, device: torch.device) -> None:
        # Apple's devices lack float64.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(2 * channels + 1, dtype=dtype, device=device)

    def add(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Count a batch; called before the norm itself."""
        x: Tensor = inputs[0].detach().float()
        if x.numel() == 0:
            return
        var, mean = torch.var_mean(x, dim=[axis for axis in range(x.ndim) if axis != 1], correction=0)
        mean, var = mean.to(self.sums.dtype), var.to(self.sums.dtype)
        self.sums += torch.cat([mean, var + mean**2, self.sums.new_ones(1)])


@torch.no_grad()
def measure_norms(network: nn.Module, batches: Iterable[tuple[Any, ...]]) -> Statistics:
    """Mean and variance of each norm's input over many batches in training mode.

    "Precise" batch normalization as of Wu and Johnson (arXiv 2105.07576, Section 3): every norm normalizes with its
    batch's own statistics; over the batches, each weighing the same, the mean is the mean of the batch means, and the
    variance is the mean of the batch means of squares, minus the square of that mean. (A running average instead
    weighs the last few batches, and those of other weights.)

    Args:
        network: in training mode; neither its weights nor its running statistics change.
        batches: arguments of each call; every process brings the same number, and all of them count.

    Returns:
        For each norm that got any values, mean and variance as float32 on the network's device.
    """
    assert network.training, "batch statistics are those of training mode"
    norms = {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    moments = {name: _Moments(norm.num_features, next(network.parameters()).device) for name, norm in norms.items()}
    with contextlib.ExitStack() as stack:
        for name, norm in norms.items():
            handle = norm.register_forward_pre_hook(moments[name].add)
            stack.callback(handle.remove)
            stack.callback(setattr, norm, "track_running_stats", norm.track_running_stats)
            norm.track_running_stats = False  # so that the running statistics stay
        for batch in batches:
            network(*batch)
    if distributed.world_size() > 1:
        for moment in moments.values():
            dist.all_reduce(moment.sums)
    return {name: _statistics(moment.sums) for name, moment in moments.items() if moment.sums[-1] > 0}


@contextlib.contextmanager
def normalizing_with(network: nn.Module, statistics: Mapping[str, Any]) -> Iterator[None]:
    """Replace the norms' running statistics while entered, and restore them afterwards.

    So training is the same however often it is interrupted for an evaluation.
    """
    own = {name: network.get_submodule(name) for name in statistics}
    before = {name: (norm.running_mean.clone(), norm.running_var.clone()) for name, norm in own.items()}  # type: ignore[operator,union-attr]
    _set(own, statistics)
    try:
        yield
    finally:
        _set(own, before)


def _set(norms: Mapping[str, nn.Module], statistics: Mapping[str, Any]) -> None:
    for name, (mean, var) in statistics.items():
        norms[name].running_mean.copy_(mean)  # type: ignore[operator,union-attr]
        norms[name].running_var.copy_(var)  # type: ignore[operator,union-attr]


def _statistics(sums: Float64[Tensor, " twice_and_one"] | Float[Tensor, " twice_and_one"]) -> tuple[Tensor, Tensor]:
    mean, square = (sums[:-1] / sums[-1]).chunk(2)
    return mean.float(), (square - mean**2).clamp(min=0).float()
