"""Distributed helpers: rank, sharding of work, and a differentiable gather; the identity on one process."""

from __future__ import annotations

import atexit
import gc
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

# Imported before there is a process group: default arguments of its functions would keep the current group alive.
import torch.distributed.nn
from jaxtyping import Shaped
from torch import Tensor, nn
from torch import distributed as dist

# How gloo and NCCL say that a process of the group is gone or silent.
_LOST = (
    *("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe"),
    *("Timed out waiting", "NCCL communicator", "NCCL error", "gloo/transport"),
)
_alone = False
Item = TypeVar("Item")
Network = TypeVar("Network", bound=nn.Module)


def join(device: torch.device) -> None:
    """Join the process group of torchrun; does nothing without torchrun, or if it was joined before.

    Args:
        device: device of this process; the backend is NCCL on CUDA, otherwise gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not _initialized():
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # NCCL uses the current device
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        leave_at_exit()


def leave() -> None:
    """Destroy the process group and its threads, if there is one.

    A gloo thread that still holds a tensor when Python exits aborts the process (pytorch#179291), and the threads end
    only with the last reference to the group, which a DistributedDataParallel in use keeps.
    """
    if _initialized():
        gc.collect()  # frees a DistributedDataParallel in reference cycles
        dist.destroy_process_group()


def leave_at_exit() -> None:
    """Destroy the process group before Python exits, whatever created it."""
    atexit.register(leave)


def wait_for_all() -> None:
    """Barrier: wait until all processes arrive."""
    if world_size() > 1:
        dist.barrier()


@contextmanager
def alone() -> Iterator[None]:
    """Context manager within which this process takes itself for the only one."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if _initialized() else 1


def rank() -> int:
    """Rank of this process, from 0; 0 without a process group."""
    return dist.get_rank() if _initialized() else 0


def synchronize_norms(network: Network) -> Network:
    """The network with batch norms over all processes, which PyTorch supports on CUDA devices; weights are shared.

    By timm's conversion: PyTorch's own drops the activation that follows within timm's ``BatchNormAct2d``.
    """
    from timm.layers import convert_sync_batchnorm

    converted: Network = convert_sync_batchnorm(network)
    return converted


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process, with the same result on all.

    All processes must call this together.

    Args:
        flag: flag of this process.
    """
    if world_size() == 1:
        return flag
    # NCCL only transfers CUDA tensors.
    flags = torch.tensor(float(flag), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(flags)
    return bool(flags > 0)


def largest(number: int) -> int:
    """The largest of the processes' numbers, of at most 53 bits; all processes must call this together."""
    if world_size() == 1:
        return number
    numbers = torch.tensor(float(number), dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers)


def tells_of_a_lost_process(error: BaseException) -> bool:
    """Whether an error says that another process of the group no longer answers.

    Backends say so in words: gloo that a connection was closed, NCCL that its communicator was aborted.
    """
    if world_size() == 1 or not isinstance(error, RuntimeError):
        return False
    if isinstance(error, dist.DistError):
        return True
    text = str(error)
    return any(part in text for part in _LOST)


def first_line(error: BaseException) -> str:
    """An error's first sentence, without the place in PyTorch's source."""
    text = str(error).strip().partition("\n")[0].partition(". ")[0]
    return re.sub(r"^\[[^\]]*\]\s*", "", text).rstrip(".")


def from_first(make: Callable[[], Item]) -> Item:
    """Compute an object on rank 0 and broadcast it to all processes.

    Args:
        make: called on rank 0 only; its result is pickled.
    """
    made: list[Any] = [make() if rank() == 0 else None]
    if world_size() > 1:
        dist.broadcast_object_list(made)
    item: Item = made[0]
    return item


def gather(x: Shaped[Tensor, "rows ..."]) -> Shaped[Tensor, "all_rows ..."]:
    """Gather the rows of all processes in order of rank, differentiably.

    Each process computes the same loss L over all rows, then DistributedDataParallel averages the parameters'
    gradients over W processes. The backward pass therefore sums over processes: a row of process r gets W dL/dx_r, and
    the average over processes is the gradient of one process with the whole batch. (A gather that keeps only the
    process's own gradient shrinks it by W.)

    Args:
        x: rows of the same shape and dtype on every process.
    """
    if world_size() == 1:
        return x
    gathered: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]
    return gathered


def mean_of_processes(x: Shaped[Tensor, ...]) -> Shaped[Tensor, ...]:
    """Mean of a floating-point tensor over all processes, not differentiable; all must call this together.

    Args:
        x: same shape and dtype on every process; left as it is.
    """
    if world_size() == 1:
        return x
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def share(items: Sequence[Item]) -> list[Item]:
    """This process's shard: every W-th item from its rank on, padded with the first item to equal lengths.

    Args:
        items: all items, at least one, the same on every process.
    """
    missing = -len(items) % world_size()
    return [*items, *([items[0]] * missing)][rank() :: world_size()]


def gather_shares(own: Shaped[Tensor, "rows ..."], total: int) -> Shaped[Tensor, "items ..."]:
    """Gather the results of all ``share`` shards in the order of the items; not differentiable.

    Args:
        own: one row for each item of this process's shard, on the CPU or its own device.
        total: number of items, without padding.
    """
    if world_size() == 1:
        return own
    # NCCL only transfers CUDA tensors.
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
    return not _alone and dist.is_available() and dist.is_initialized()
