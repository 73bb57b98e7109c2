"""Processes that work together."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from manyview import distributed


# Imported once, by the server that all processes are forked from.
_IMPORTED = ("manyview.recipes", "manyview.training.run", "timm", "tests.helpers.tiny")


def in_processes(work: Callable[..., None], *arguments: Any, processes: int = 2) -> None:
    """Call ``work(rank, *arguments)`` in several processes at once, none of which has computed anything before.

    Raises:
        AssertionError: a process has failed; its traceback is printed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))
    started = [context.Process(target=work, args=(rank, *arguments)) for rank in range(processes)]
    for process in started:
        process.start()
    failed = []
    for rank, process in enumerate(started):
        process.join(300 if not failed else 1)
        if process.exitcode != 0:
            failed.append((rank, process.exitcode))
            process.kill()
    assert not failed, f"rank and exit status: {failed}"


@contextmanager
def joined(rank: int, folder: Path, processes: int = 2) -> Iterator[None]:
    """One of several processes that meet in a folder; with one thread, and warnings as errors."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meet-{processes}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    try:
        yield
    finally:
        distributed.leave()


def threads() -> list[str]:
    """Names of this process's threads; Linux only."""
    return [(thread / "comm").read_text().strip() for thread in Path("/proc/self/task").iterdir()]
