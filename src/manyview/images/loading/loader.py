"""Data loading in worker processes, which end with the iteration however it ends, and whose loss is noticed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from manyview.images.loading.sharing import SharedObjects
from manyview.images.loading.silence import TimedDataset
from manyview.images.loading.workers import (
    Loading,
    LossReport,
    Outstanding,
    end_where_sending_fails,
    end_with_parent,
    ensure_short_socket_paths,
)
from manyview.runs.signals import STOPPING
from manyview.runtime import core_count, keep_freed_memory, use_one_thread

_KEPT = (2**25, 2**26)  # bytes of a block and in all; what glibc arrives at by itself
_MOST = 16  # processes, unless more are requested
_POLL = 1  # seconds between two looks at workers that a batch is awaited from


def worker_count(asked: int | None) -> int:
    """Number of loader processes: as requested, else one for each core available to this process, at most 16."""
    return asked if asked is not None else min(core_count(), _MOST)


def load_in_workers(
    dataset: Dataset[Any],
    batches: Iterable[Sequence[Any]],
    *,
    workers: int | None,
    pin: bool,
    collate: Callable[[list[Any]], Any] | None = None,
    name: Callable[[Any], str] = str,
) -> Loading:
    """Load batches of a data set in order, prefetched by worker processes that start immediately.

    Args:
        dataset: the data set.
        batches: keys of the items of each batch.
        workers: processes, 0 for none; None: by cores. The items do not depend on it.
        pin: whether batches go to an accelerator: they are then placed in page-locked memory, from which copies are
            faster.
        collate: makes a batch of the list of its items; unset: PyTorch's tensors of numbers.
        name: what an item is called in messages, by its key.

    Raises:
        UserError: no folder is short enough for the names of the workers' sockets.
    """
    processes = worker_count(workers)
    how: dict[str, Any] = {"collate_fn": collate, "pin_memory": pin}
    generator = torch.Generator()  # its draws are unused; the global generator keeps its state
    if not processes:
        timed = TimedDataset(dataset, name)
        return Loading(iter(DataLoader(timed, batch_sampler=map(list, batches), generator=generator, **how)))
    ensure_short_socket_paths()
    context = "fork" if sys.platform == "linux" else "spawn"
    outstanding = Outstanding(batches, name, processes, context)
    report = LossReport(context)
    # The kernel ends a worker with the thread that started it, and only the main thread lasts as long as the process.
    by_main = threading.current_thread() is threading.main_thread()
    with warnings.catch_warnings():
        # More workers than cores are the user's own choice; PyTorch warns twice.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader: DataLoader[Any] = DataLoader(
            outstanding.noting(dataset),
            batch_sampler=outstanding,
            num_workers=processes,
            timeout=_POLL,
            generator=generator,
            worker_init_fn=partial(_prepare, prepare_worker, report, os.getpid(), by_main),
            multiprocessing_context=context,
            **how,
        )
        with held_signals(spawn=context == "spawn"):
            shared = SharedObjects()
            try:
                return Loading(iter(loader), outstanding, report, shared)
            except BaseException:
                shared.release()
                raise


@contextmanager
def held_signals(*, spawn: bool) -> Iterator[None]:
    """Block the signals that stop a run in this thread: worker processes started meanwhile begin with them blocked.

    A worker that they reach before it ignores them dies, and the run with it. Those that this process receives are
    handled at the end, or before it if another thread receives them. Windows has no such mask.

    Args:
        spawn: whether the workers are spawned, by which Python starts its resource tracker, too.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    if spawn:
        resource_tracker.ensure_running()  # whose start ends by unblocking Ctrl-C and SIGTERM
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare(
    prepare: Callable[[int], None], report: LossReport, parent: int, started_by_main_thread: bool, worker: int
) -> None:
    end_where_sending_fails(report)
    end_with_parent(parent, by_kernel=started_by_main_thread)
    prepare(worker)


def prepare_worker(_: int) -> None:
    """Set up a worker process: ignore the signals that stop a run, use one thread.

    Its priority is that of the main process. A lower one is a little faster where nothing else runs, as a compute
    thread that is interrupted keeps all others waiting; beside any other process the workers would get next to no time.
    """
    # A terminal sends Ctrl-C to the whole process group, and SLURM its signals to all processes of a job; the main
    # process alone handles them, and ends its workers.
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    use_one_thread()
    keep_freed_memory(*_KEPT)  # else the memory of one huge image would stay allocated in each process
