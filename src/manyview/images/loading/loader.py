"""Data loading in worker processes, which end with the iteration however it ends, and whose loss is noticed."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from manyview.images.loading.sharing import SharedObjects
from manyview.images.loading.workers import (
    Loading,
    LossReport,
    Outstanding,
    end_where_sending_fails,
    end_with_parent,
    ensure_short_socket_paths,
)
from manyview.runtime import core_count, keep_freed_memory, use_one_thread

_KEPT = (2**25, 2**26)  # bytes of a block and in all; what glibc arrives at by itself
_MOST = 16  # processes, unless more are requested
_NICENESS = 19  # the maximum
_IGNORED = (signal.SIGINT, signal.SIGTERM)  # by workers
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
            faster. Otherwise the workers run at low priority, as the network computes on the same cores.
        collate: makes a batch of the list of its items; unset: PyTorch's tensors of numbers.
        name: what an item is called in messages, by its key.

    Raises:
        UserError: no folder is short enough for the names of the workers' sockets.
    """
    processes = worker_count(workers)
    how: dict[str, Any] = {"collate_fn": collate, "pin_memory": pin}
    generator = torch.Generator()  # its draws are unused; the global generator keeps its state
    if not processes:
        return Loading(iter(DataLoader(dataset, batch_sampler=map(list, batches), generator=generator, **how)))
    ensure_short_socket_paths()
    context = "fork" if sys.platform == "linux" else "spawn"
    outstanding = Outstanding(batches, name, processes, context)
    report = LossReport(context)
    prepare = prepare_worker if pin else prepare_yielding_worker
    with warnings.catch_warnings():
        # More workers than cores are the user's own choice; PyTorch warns twice.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader: DataLoader[Any] = DataLoader(
            outstanding.noting(dataset),
            batch_sampler=outstanding,
            num_workers=processes,
            timeout=_POLL,
            generator=generator,
            worker_init_fn=partial(_prepare, prepare, report),
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


def _prepare(prepare: Callable[[int], None], report: LossReport, worker: int) -> None:
    end_where_sending_fails(report)
    end_with_parent()
    prepare(worker)


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
