"""The group of processes that train together: joining and leaving it, its size and this process's rank."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Imported before there is a process group: default arguments of its functions would keep the current group alive.
import torch.distributed.nn
from torch import distributed as dist

_alone = False


def join(device: torch.device) -> None:
    """Join the process group of torchrun or srun; does nothing in a single process, or if it was joined before.

    Args:
        device: device of this process; the backend is NCCL on CUDA, otherwise gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not initialized():
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # NCCL uses the current device
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        leave_at_exit()


def leave() -> None:
    """Destroy the process group and its threads, if there is one.

    A gloo thread that still holds a tensor when Python exits aborts the process (pytorch#179291), and the threads end
    only with the last reference to the group, which a DistributedDataParallel in use keeps.
    """
    if initialized():
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
    return dist.get_world_size() if initialized() else 1


def rank() -> int:
    """Rank of this process, from 0; 0 without a process group."""
    return dist.get_rank() if initialized() else 0


def initialized() -> bool:
    """Whether this process has joined a group."""
    return not _alone and dist.is_available() and dist.is_initialized()
