"""Rank, and a gather through which gradients flow; on one process, the identity."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch import distributed as dist


def world_size() -> int:
    """Number of processes that train together; 1 without a process group."""
    return dist.get_world_size() if _initialized() else 1


def rank() -> int:
    """This process's place among them, from 0; 0 without a process group."""
    return dist.get_rank() if _initialized() else 0


def gather(x: Shaped[Tensor, "rows ..."]) -> Shaped[Tensor, "all_rows ..."]:
    """Rows of all processes, in order of rank, on each of them, differentiable.

    Each process computes the same loss L over all the rows, then DistributedDataParallel averages the parameters'
    gradients over W processes. The backward pass therefore sums over processes: the row of process r gets W dL/dx_r,
    and the average over processes of their shares is the gradient of one process that holds the whole batch. (A gather
    that keeps only the process's own gradient shrinks it by W.)

    Args:
        x: rows of the same shape and dtype on every process.
    """
    if world_size() == 1:
        return x
    gathered: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        first = rank() * ctx.rows
        return total[first : first + ctx.rows]


def _initialized() -> bool:
    return dist.is_available() and dist.is_initialized()
