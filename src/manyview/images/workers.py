"""What every loader's processes have in common."""

from __future__ import annotations

import os
import signal

import cv2
import torch

from manyview.memory import keep_freed_memory

_KEPT = (2**25, 2**26)  # bytes of a block and in all; what glibc comes to by itself
_MOST = 16
_NICENESS = 19  # the most there is


def worker_count(asked: int | None) -> int:
    """Loader processes: as asked, else one for each core that this process may use, at most 16."""
    return asked if asked is not None else min(core_count(), _MOST)


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare_worker(_: int) -> None:
    """Leave signals to the main process, and the cores to the other workers."""
    # Ctrl-C, and often SIGTERM, reach the whole process group; the main process alone decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    keep_freed_memory(*_KEPT)  # a single huge photograph would otherwise stay with each of many processes


def prepare_yielding_worker(worker: int) -> None:
    """The same for a loader that shares its cores with a network that computes on the CPU.

    A computing thread that is interrupted keeps all others waiting, so loading takes what the network leaves.
    """
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    prepare_worker(worker)
