"""A loader's processes: how many, how they start, and that they end with the iteration, whatever ends it."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from manyview.runtime import core_count, keep_freed_memory, use_one_thread

_KEPT = (2**25, 2**26)  # bytes of a block and in all; what glibc comes to by itself
_MOST = 16  # processes, unless more are asked for
_NICENESS = 19  # the most there is


def worker_count(asked: int | None) -> int:
    """Loader processes: as asked, else one for each core that this process may use, at most 16."""
    return asked if asked is not None else min(core_count(), _MOST)


def load_in_workers(dataset: Dataset[Any], *, workers: int | None, pin: bool, **how: Any) -> Loading:
    """A data set's items or batches in order, made ahead by other processes, which start at once.

    Args:
        dataset: what is loaded.
        workers: processes, 0 for none; None: by cores. What is loaded does not depend on it.
        pin: whether batches go to an accelerator: they then lie in page-locked memory, from which it copies faster.
            Otherwise the processes leave their cores to the network that computes there.
        how: what else ``DataLoader`` takes: which items, in what batches, put together how.
    """
    processes = worker_count(workers)
    with warnings.catch_warnings():
        # More workers than cores are somebody's own choice; PyTorch says so twice.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader: DataLoader[Any] = DataLoader(
            dataset,
            num_workers=processes,
            pin_memory=pin,
            generator=torch.Generator(),  # its draws are unused, and the user's generator stays as it is
            worker_init_fn=(prepare_worker if pin else prepare_yielding_worker) if processes else None,
            multiprocessing_context="fork" if processes and sys.platform == "linux" else None,
            **how,
        )
        return Loading(iter(loader))


class Loading(Iterator[Any]):
    """What a loader gives; its processes end with the last item, an error, ``close``, or Python itself.

    They ignore the signals that Python sends them when it ends, and PyTorch ends them only when their iterator is
    forgotten. An error's traceback may keep it, and Python would then wait for them forever.
    """

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._shut_down = getattr(batches, "_shutdown_workers", lambda: None)  # there is nothing without workers
        atexit.register(self._shut_down)

    def __next__(self) -> Any:
        """The next item or batch."""
        try:
            return next(self._batches)
        except BaseException:
            self.close()
            raise

    @property
    def processes(self) -> list[int]:
        """Identifiers of the processes; none without workers."""
        return [worker.pid for worker in getattr(self._batches, "_workers", [])]

    def close(self) -> None:
        """End the processes."""
        self._shut_down()
        atexit.unregister(self._shut_down)

    def __del__(self) -> None:
        self.close()


def prepare_worker(_: int) -> None:
    """Leave signals to the main process, and the cores to the other workers."""
    # Ctrl-C, and often SIGTERM, reach the whole process group; the main process alone decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    use_one_thread()
    keep_freed_memory(*_KEPT)  # a single huge image would otherwise stay with each of many processes


def prepare_yielding_worker(worker: int) -> None:
    """The same for a loader that shares its cores with a network that computes on the CPU.

    A computing thread that is interrupted keeps all others waiting, so loading takes what the network leaves.
    """
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    prepare_worker(worker)
