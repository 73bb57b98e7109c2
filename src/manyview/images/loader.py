"""Data loading in worker processes, which end with the iteration however it ends."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from manyview.runtime import core_count, keep_freed_memory, use_one_thread

_KEPT = (2**25, 2**26)  # bytes of a block and in all; what glibc arrives at by itself
_MOST = 16  # processes, unless more are requested
_NICENESS = 19  # the maximum
_IGNORED = (signal.SIGINT, signal.SIGTERM)  # by workers


def worker_count(asked: int | None) -> int:
    """Number of loader processes: as requested, else one for each core available to this process, at most 16."""
    return asked if asked is not None else min(core_count(), _MOST)


def load_in_workers(dataset: Dataset[Any], *, workers: int | None, pin: bool, **how: Any) -> Loading:
    """Load a data set's items or batches in order, prefetched by worker processes that start immediately.

    Args:
        dataset: the data set.
        workers: processes, 0 for none; None: by cores. The items do not depend on it.
        pin: whether batches go to an accelerator: they are then placed in page-locked memory, from which copies are
            faster. Otherwise the workers run at low priority, as the network computes on the same cores.
        how: further arguments of ``DataLoader``, such as sampler and collation.
    """
    processes = worker_count(workers)
    context = "fork" if processes and sys.platform == "linux" else None
    with warnings.catch_warnings():
        # More workers than cores are the user's own choice; PyTorch warns twice.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader: DataLoader[Any] = DataLoader(
            dataset,
            num_workers=processes,
            pin_memory=pin,
            generator=torch.Generator(),  # its draws are unused; the global generator keeps its state
            worker_init_fn=(prepare_worker if pin else prepare_yielding_worker) if processes else None,
            multiprocessing_context=context,
            **how,
        )
        with held_signals(spawn=processes > 0 and context is None):
            return Loading(iter(loader))


@contextmanager
def held_signals(*, spawn: bool) -> Iterator[None]:
    """Block Ctrl-C and SIGTERM in this thread, so that worker processes started meanwhile begin with both blocked.

    A worker that they reach before it ignores them dies, and the run with it. Those that this process receives are
    handled at the end, or before it if another thread receives them. Windows has no such mask.

    Args:
        spawn: whether the workers are spawned, by which Python starts its resource tracker, too.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    if spawn:
        resource_tracker.ensure_running()  # whose start ends by unblocking both signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Loading(Iterator[Any]):
    """A loader's iterator, whose processes end with the last item, an error, ``close``, or Python itself.

    The processes ignore the signals that Python sends at exit, and PyTorch ends them only when the iterator is
    garbage-collected. A traceback may keep it alive, and Python would then wait for the processes forever.
    """

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._shut_down = getattr(batches, "_shutdown_workers", lambda: None)  # absent without workers
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
    """Set up a worker process: ignore signals, use one thread."""
    # Ctrl-C, and often SIGTERM, reach the whole process group; the main process alone handles them.
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)
    use_one_thread()
    keep_freed_memory(*_KEPT)  # else the memory of one huge image would stay allocated in each process


def prepare_yielding_worker(worker: int) -> None:
    """Set up a worker process that shares its cores with a network on the CPU: also at the lowest priority.

    A compute thread that is interrupted keeps all others waiting, so loading takes only the time that is left.
    """
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    prepare_worker(worker)
