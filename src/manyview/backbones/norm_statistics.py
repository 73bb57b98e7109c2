"""Running statistics of batch norms, measured anew over many batches ("precise" batch normalization)."""

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

Statistics = dict[str, Float[Tensor, "2 channels"]]
"""Mean and variance of each norm's input, by the norm's name; a state to keep in a file."""


def running_norms(network: nn.Module) -> dict[str, _BatchNorm]:
    """The batch norms of a network that keep running statistics, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def norms_are_new(network: nn.Module) -> bool:
    """Whether all running statistics are those of a new network: mean 0 and variance 1."""
    pairs = [(norm.running_mean, norm.running_var) for norm in running_norms(network).values()]
    return all(not bool(mean.any()) and bool((var == 1).all()) for mean, var in pairs)  # type: ignore[union-attr]


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
    """Mean and variance of each norm's input over many batches, normalized by their own statistics.

    "Precise" batch normalization as of Wu and Johnson (arXiv 2105.07576, Section 3): every norm normalizes with its
    batch's own statistics; over the batches, each weighing the same, the mean is the mean of the batch means, and the
    variance is the mean of the batch means of squares, minus the square of that mean. (A running average instead
    weighs the last few batches, and those of other weights.)

    Args:
        network: in any mode, as only its norms are put in training mode meanwhile; neither its weights nor its running
            statistics change.
        batches: arguments of each call; those of all processes count, whose numbers may differ.

    Returns:
        For each norm that got any values, mean and variance (2, channels) as float32 on the network's device: the same
        on every process, and up to rounding in float64 on any number of them.
    """
    norms = running_norms(network)
    moments = {name: _Moments(norm.num_features, next(network.parameters()).device) for name, norm in norms.items()}
    with contextlib.ExitStack() as stack:
        for name, norm in norms.items():
            handle = norm.register_forward_pre_hook(moments[name].add)
            stack.callback(handle.remove)
            for mode in ("track_running_stats", "training"):
                stack.callback(setattr, norm, mode, getattr(norm, mode))
            norm.track_running_stats, norm.training = False, True  # so that the running statistics stay
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
    set_norms(network, statistics)
    try:
        yield
    finally:
        set_norms(network, before)


def set_norms(network: nn.Module, statistics: Mapping[str, Any]) -> None:
    """Set the norms' running statistics to a mean and a variance each, by the norm's name."""
    for name, (mean, var) in statistics.items():
        norm = network.get_submodule(name)
        norm.running_mean.copy_(mean)  # type: ignore[operator,union-attr]
        norm.running_var.copy_(var)  # type: ignore[operator,union-attr]


def _statistics(
    sums: Float64[Tensor, " twice_and_one"] | Float[Tensor, " twice_and_one"],
) -> Float[Tensor, "2 channels"]:
    mean, square = (sums[:-1] / sums[-1]).chunk(2)
    return torch.stack([mean, (square - mean**2).clamp(min=0)]).float()
