"""Rank, shares of work, and a gather through which gradients flow; on one process, the identity."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

# Before there is a process group: its functions have the group of that moment as a default, which would never end then.
import torch.distributed.nn
from jaxtyping import Shaped
from torch import Tensor
from torch import distributed as dist

Item = TypeVar("Item")


def join(device: torch.device) -> None:
    """Meet the other processes that torchrun started; nothing without torchrun, or when they have met before.

    Args:
        device: where this process computes; on CUDA they talk through NCCL, elsewhere through gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not _initialized():
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # NCCL moves what lies on the current one
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        leave_at_exit()


def leave() -> None:
    """End the process group and its threads; nothing where there is none.

    A thread of gloo that still holds a tensor while Python ends aborts the process (pytorch#179291), and the threads
    end only with the last reference to the group. A DistributedDataParallel that is still in use keeps one.
    """
    if _initialized():
        gc.collect()  # a DistributedDataParallel is freed with the cycles that it stands in
        dist.destroy_process_group()


def leave_at_exit() -> None:
    """Leave before Python ends, whoever started the process group."""
    atexit.register(leave)


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if world_size() > 1:
        dist.barrier()


def world_size() -> int:
    """Number of processes that train together; 1 without a process group."""
    return dist.get_world_size() if _initialized() else 1


def rank() -> int:
    """This process's place among them, from 0; 0 without a process group."""
    return dist.get_rank() if _initialized() else 0


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process, the same answer on all of them.

    Args:
        flag: this process's. Every process must call this at the same point.
    """
    if world_size() == 1:
        return flag
    # NCCL reduces only tensors on its devices.
    flags = torch.tensor(float(flag), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(flags)
    return bool(flags > 0)


def from_first(make: Callable[[], Item]) -> Item:
    """What the first process makes, on every process; the others wait for it.

    Args:
        make: called on the first process alone; what it gives travels as a pickle.
    """
    made: list[Any] = [make() if rank() == 0 else None]
    if world_size() > 1:
        dist.broadcast_object_list(made)
    item: Item = made[0]
    return item


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


def share(items: Sequence[Item]) -> list[Item]:
    """This process's items, every W-th from its rank on, with some of the first again so that all have as many.

    Args:
        items: all of them, at least one, the same on every process.
    """
    missing = -len(items) % world_size()
    return [*items, *([items[0]] * missing)][rank() :: world_size()]


def gather_shares(own: Shaped[Tensor, "rows ..."], total: int) -> Shaped[Tensor, "items ..."]:
    """What every process made of its ``share``, put together in the order of the items; not differentiable.

    Args:
        own: a row for each item of this process's share, on the CPU or its own device.
        total: the number of items, without those that were given out again.
    """
    if world_size() == 1:
        return own
    # NCCL moves only what lies on its devices.
    sent = own.contiguous().to("cuda" if dist.get_backend() == "nccl" else own.device)
    parts = [torch.empty_like(sent) for _ in range(world_size())]
    dist.all_gather(parts, sent)
    return torch.stack(parts, dim=1).flatten(0, 1)[:total].to(own.device)


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
