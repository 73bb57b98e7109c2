from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable

import pytest

from manyview.images.loader import prepare_worker, prepare_yielding_worker, worker_count
from manyview.runtime import core_count


def priority_after(prepare: Callable[[int], None]) -> int:
    """The niceness that a process has gained by being prepared."""

    def child(queue: multiprocessing.Queue) -> None:
        before = os.nice(0)
        prepare(0)
        queue.put(os.nice(0) - before)

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    gained = queue.get(timeout=60)
    process.join()
    return gained


@pytest.mark.skipif(not hasattr(os, "nice"), reason="no niceness on this system")
def test_only_workers_that_share_their_cores_yield() -> None:
    assert priority_after(prepare_worker) == 0
    assert priority_after(prepare_yielding_worker) == min(19, 19 - os.nice(0))


def test_as_many_workers_as_asked_or_as_cores() -> None:
    assert worker_count(3) == 3
    assert worker_count(0) == 0
    assert worker_count(None) == min(core_count(), 16)
