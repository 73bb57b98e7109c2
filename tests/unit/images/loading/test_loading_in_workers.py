from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from operator import itemgetter

import pytest
import torch
from torch.utils.data import Dataset

from manyview.images.loading import loader
from manyview.images.loading.loader import load_in_workers, prepare_worker, worker_count
from manyview.images.loading.workers import Loading
from manyview.runtime import core_count


class Squares(Dataset[int]):
    """Squares of numbers, or the process that makes them."""

    def __init__(self, process: bool = False) -> None:
        self.process = process

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> int:
        return os.getpid() if self.process else index**2


def one_by_one() -> Iterator[list[int]]:
    return ([index] for index in range(20))


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_do_not_end_workers_that_are_just_starting(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(worker: int) -> None:
        time.sleep(0.2)
        prepare_worker(worker)

    monkeypatch.setattr(loader, "prepare_worker", slowly)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    loading = load_in_workers(Squares(), one_by_one(), workers=2, pin=False, collate=itemgetter(0))
    for process in loading.processes:
        os.kill(process, number)
    assert list(loading) == [index**2 for index in range(20)]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_items_come_in_order_whatever_the_workers(workers: int) -> None:
    state = torch.get_rng_state()
    batches = [range(first, min(first + 6, 20)) for first in range(0, 20, 6)]
    loaded = load_in_workers(Squares(), batches, workers=workers, pin=False)
    assert torch.cat(list(loaded)).tolist() == [index**2 for index in range(20)]
    assert torch.equal(torch.get_rng_state(), state)


def is_alive(process: int) -> bool:
    """Whether a child still runs; one that has ended is taken note of."""
    try:
        return os.waitpid(process, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def started() -> tuple[Loading, int]:
    loaded = load_in_workers(Squares(process=True), one_by_one(), workers=1, pin=False, collate=itemgetter(0))
    process = int(next(loaded))
    assert process != os.getpid()
    assert is_alive(process)
    return loaded, process


def test_the_processes_end_with_close_and_when_nobody_has_them_any_longer() -> None:
    loaded, process = started()
    loaded.close()
    assert not is_alive(process)
    loaded, process = started()
    del loaded
    assert not is_alive(process)


def test_the_processes_end_with_an_error() -> None:
    class Breaks(Squares):
        def __getitem__(self, index: int) -> int:
            if index:
                raise ValueError("no such number")
            return os.getpid()

    loaded = load_in_workers(Breaks(), one_by_one(), workers=1, pin=False, collate=itemgetter(0))
    process = int(next(loaded))
    with pytest.raises(ValueError, match="no such number"):
        list(loaded)
    for _ in range(100):
        if not is_alive(process):
            return
        time.sleep(0.05)
    raise AssertionError("the worker goes on")


def test_nothing_starts_again_at_the_end() -> None:
    loaded: Iterator[int] = load_in_workers(Squares(), one_by_one(), workers=0, pin=False, collate=itemgetter(0))
    assert len(list(loaded)) == 20
    with pytest.raises(StopIteration):
        next(loaded)


class Priorities(Dataset[tuple[int, int]]):
    """Of the process that makes the item: its niceness, and its scheduling policy where there are some."""

    def __getitem__(self, index: int) -> tuple[int, int]:
        return os.nice(0), os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else 0


@pytest.mark.skipif(not hasattr(os, "nice"), reason="no niceness on this system")
def test_workers_have_the_priority_of_their_parent() -> None:
    """At a lower one they starve beside any other program on the core."""
    here = Priorities()[0]
    assert list(load_in_workers(Priorities(), [[0], [1]], workers=2, pin=False, collate=itemgetter(0))) == [here, here]


def test_as_many_workers_as_asked_or_as_cores() -> None:
    assert worker_count(3) == 3
    assert worker_count(0) == 0
    assert worker_count(None) == min(core_count(), 16)
