"""Processes that work together."""

from __future__ import annotations

import gc
import importlib
import itertools
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jaxtyping
import torch
import torch.distributed as dist

from manyview import distributed

_server: Connection | None = None
_numbers = itertools.count()


def begin_server() -> None:
    """Fork the process that all others are forked from: what tests need is imported, and nothing is computed yet."""
    import tests.helpers.what_runs_import  # noqa: F401

    global _server
    _server, requests = multiprocessing.Pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12's on threads, which only wait here
        process = os.fork()
    if process:
        requests.close()
        return
    _server.close()
    try:
        _serve(requests)
    finally:
        os._exit(0)


def has_begun() -> bool:
    """Whether processes can be forked."""
    return _server is not None


def in_processes(
    work: Callable[..., None],
    *arguments: Any,
    processes: int = 2,
    statuses: Sequence[int] | None = None,
    seconds: float = 120,
) -> None:
    """Call ``work(rank, *arguments)`` in several processes at once, none of which has computed anything before.

    Args:
        work: a function of a test module, which has been collected.
        arguments: what can be pickled.
        processes: number of processes.
        statuses: how they are to end, as ``multiprocessing`` has it; unset: all with 0.
        seconds: after which they are ended.

    Raises:
        AssertionError: a process has ended otherwise; its traceback is printed.
    """
    assert _server is not None, "conftest.py starts it"
    number, expected = next(_numbers), list(statuses or [0] * processes)
    _server.send((number, work, arguments, expected, seconds))
    answered = -1
    while answered < number:  # after those that a timeout has left
        answered, found, printed = _server.recv()
    print(printed)  # shown where the test fails
    assert found == expected, "exit statuses by rank"


def _serve(requests: Connection) -> None:
    """Start processes until nobody asks for them any longer."""
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # pytest alone reacts to Ctrl-C
    gc.freeze()
    jaxtyping.config.update("jaxtyping_disable", True)  # calls are checked in the process of the tests
    context = multiprocessing.get_context("fork")
    while True:
        try:
            number, work, arguments, expected, seconds = requests.recv()
        except EOFError:
            return
        if "torch._dynamo" not in sys.modules:  # networks of several processes import it: 3 s of a core in each of them
            importlib.import_module("torch._dynamo")
            gc.freeze()
        log = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        started = [
            context.Process(target=_called, args=(interrupted, log.fileno(), work, rank, *arguments))
            for rank in range(len(expected))
        ]
        for process in started:
            process.start()
        failed = False
        for process, status in zip(started, expected, strict=True):
            process.join(1 if failed else seconds)
            if process.exitcode != status:
                failed = True
                process.kill()
                process.join()
        log.seek(0)
        requests.send((number, [process.exitcode for process in started], log.read().decode(errors="replace")))
        log.close()


def _called(interrupted: Any, log: int, work: Callable[..., None], rank: int, *arguments: Any) -> None:
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, interrupted)
    work(rank, *arguments)


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
