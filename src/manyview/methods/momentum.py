"""Momentum encoders: copies that follow their network slowly, by an exponential moving average."""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def slow_copy(network: Network) -> Network:
    """A copy of a network that gets no gradients."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def follow(slow: nn.Module, network: nn.Module, momentum: float) -> None:
    """theta_slow <- m theta_slow + (1 - m) theta (arXiv 1911.05722, Eq. 2), of all parameters.

    Buffers stay: a momentum encoder in training mode keeps norm statistics of its own.

    Args:
        slow: copy made by ``slow_copy``, which is updated.
        network: the network, after its optimizer step.
        momentum: m, from 0 to 1.
    """
    slowly: list[Tensor] = list(slow.parameters())
    now: list[Tensor] = list(network.parameters())
    if slowly[0].device.type == "cpu":
        for old, new in zip(slowly, now, strict=True):  # one by one, so that the second pass finds it in the cache
            old.mul_(momentum).add_(new, alpha=1 - momentum)
    else:
        torch._foreach_mul_(slowly, momentum)
        torch._foreach_add_(slowly, now, alpha=1 - momentum)


def rising(start: float, end: float, progress: float) -> float:
    """Cosine schedule from one value to another (arXiv 2006.07733, Section 3.3, for m from its start to 1).

    Args:
        start: value at the start of the run.
        end: value at its end.
        progress: share of the run that is done, from 0 to 1.
    """
    return end - (end - start) * (math.cos(math.pi * progress) + 1) / 2
