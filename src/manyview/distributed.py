"""What crosses processes; on one process everything here is the identity."""

from __future__ import annotations

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.distributed.nn.functional import all_gather as _all_gather_with_gradient


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather(x: Shaped[Tensor, "rows ..."]) -> Shaped[Tensor, "all_rows ..."]:
    """Rows of all processes, in order of their ranks; as many on each.

    The gradient goes back to the process that each row came from, summed over all processes. Where every process
    computes the same loss over the gathered rows, that is the loss's gradient times the number of processes, and DDP's
    mean over processes makes it exact.
    """
    if world_size() == 1:
        return x
    if x.is_floating_point():
        return torch.cat(_all_gather_with_gradient(x.contiguous()))
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)
