"""Processes that work together."""

from __future__ import annotations

import multiprocessing
import os
import socket
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
        process.join(120 if not failed else 1)
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


@contextmanager
def launched(rank: int, processes: int, port: int) -> Iterator[None]:
    """One of several processes that torchrun would have started; with one thread, and warnings as errors."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "GROUP_RANK": 0}
    found = {name: str(value) for name, value in ranks.items()} | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= found
    try:
        yield
    finally:
        distributed.leave()
        for name in found:
            del os.environ[name]


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def threads() -> list[str]:
    """Names of this process's threads; Linux only."""
    return [(thread / "comm").read_text().strip() for thread in Path("/proc/self/task").iterdir()]
