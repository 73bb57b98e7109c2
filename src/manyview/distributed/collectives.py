"""Communication between processes: gathering, means, shares of work; the identity on one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch import distributed as dist

from manyview.distributed.group import rank, world_size

Item = TypeVar("Item")


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process, with the same result on all.

    All processes must call this together.

    Args:
        flag: flag of this process.
    """
    if world_size() == 1:
        return flag
    flags = torch.tensor(float(flag), device=_transferred(torch.device("cpu")))
    dist.all_reduce(flags)
    return bool(flags > 0)


def largest(number: int) -> int:
    """The largest of the processes' numbers, of at most 53 bits; all processes must call this together."""
    if world_size() == 1:
        return number
    numbers = torch.tensor(float(number), dtype=torch.float64, device=_transferred(torch.device("cpu")))
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers)


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


def own_rows(everyones: Shaped[Tensor, "all_rows ..."]) -> Shaped[Tensor, "rows ..."]:
    """This process's rows among those of all processes, as ``gather`` has them.

    Args:
        everyones: equally many rows of each process.
    """
    rows = len(everyones) // world_size()
    return everyones[rank() * rows : (rank() + 1) * rows]


def gather_unequal(own: Float[Tensor, "own numbers"], first: int, total: int) -> Float[Tensor, "total numbers"]:
    """Gather rows of which processes have different numbers, on every process; not differentiable.

    Args:
        own: this process's rows, possibly none.
        first: index of the first of them among all.
        total: number of rows of all processes.
    """
    if world_size() == 1:
        return own
    found = own.new_zeros(total, own.shape[1])
    found[first : first + len(own)] = own
    dist.all_reduce(found)
    return found


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
    sent = own.contiguous().to(_transferred(own.device))
    return torch.stack(of_all(sent), dim=1).flatten(0, 1)[:total].to(own.device)


def of_all(own: Shaped[Tensor, ...]) -> list[Shaped[Tensor, ...]]:
    """The tensors of all processes, in order of rank, not differentiable; all must call this together.

    Args:
        own: contiguous, of the same shape and dtype on every process; with NCCL on this process's CUDA device.
    """
    parts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(parts, own)
    return parts


def _transferred(device: torch.device) -> torch.device:
    """Where a tensor of a device has to be to be sent: NCCL only transfers CUDA tensors."""
    return torch.device("cuda") if dist.get_backend() == "nccl" else device


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.cat(of_all(x.contiguous()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return own_rows(total)
