"""Several processes on this machine, started and watched as torchrun does, but heard as one.

The first process has the terminal; what the others print is shown only if they fail by something unforeseen. Signals
are passed on once, and an exception that a process reports is raised here.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch import distributed as dist

from manyview.errors import UserError

REPORT = "MANYVIEW_REPORT"
"""Environment variable of a process: the file in which it reports the exception that it ends with."""

_POLL = 0.1  # seconds between two looks at the processes
_GRACE, _LAST = 30.0, 10.0  # seconds for the others to end by themselves, and then after SIGTERM
_PASSED_ON = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP") if hasattr(signal, name)
]


def run_processes(command: Sequence[str], count: int, given: bytes, threads: int = 1) -> None:
    """Run a command in several processes that find each other by torchrun's environment variables.

    Args:
        command: program and arguments.
        count: number of processes.
        given: what each reads from its standard input.
        threads: compute threads of each on the CPU, unless OMP_NUM_THREADS is set.

    Raises:
        Exception: what a process has reported, of the lowest rank that has.
        UserError: a process was killed, or ended by something unforeseen, after what it printed.
        KeyboardInterrupt, SystemExit: the processes have ended so, as after a signal.
    """
    with tempfile.TemporaryDirectory(prefix="manyview-") as folder:
        # Kept here and not by the first process, so that its port is free for certain.
        store = dist.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(minutes=30)
        )
        shared = {
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "GROUP_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        }
        processes: list[subprocess.Popen[bytes]] = []
        with _passing_on(processes):  # before the first starts: a signal that nothing handles would leave it alone
            for rank in range(count):
                processes.append(_start(command, rank, shared, Path(folder), given))
            first = _watch(processes)
        _raise_outcome(processes, first, Path(folder))


def report(error: BaseException) -> None:
    """In a started process: report the exception that it is about to end with, for ``run_processes`` to raise."""
    try:
        text = pickle.dumps(error)
        pickle.loads(text)
    except Exception:
        text = pickle.dumps(UserError(str(error)))
    Path(os.environ[REPORT]).write_bytes(text)


def end_with_parent() -> None:
    """In a started process: a SIGTERM, as from a user, when the process that started it is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(10 * _POLL)
        os.kill(os.getpid(), signal.SIGTERM)

    if os.name != "nt":
        threading.Thread(target=watch, daemon=True).start()


def _start(
    command: Sequence[str], rank: int, shared: Mapping[str, str], folder: Path, given: bytes
) -> subprocess.Popen[bytes]:
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), REPORT: str(folder / f"{rank}.report")}
    environment = {**os.environ, **shared, **own}
    with tempfile.TemporaryFile() as stdin, (folder / f"{rank}.output").open("wb") as output:
        stdin.write(given)
        stdin.seek(0)
        to: Any = None if rank == 0 else output
        # In a session of its own: Ctrl-C reaches only this process, which passes it on.
        return subprocess.Popen(
            command, stdin=stdin, stdout=to, stderr=to, env=environment, start_new_session=os.name != "nt"
        )


@contextmanager
def _passing_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Pass signals on to all processes while entered."""

    def send(number: int, _: Any) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, send) for number in _PASSED_ON}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def _watch(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for all processes; once one has failed, the others have some time to end by themselves.

    Returns:
        the rank of the process that failed first, or 0.
    """
    first = _wait(processes, lambda: any(process.poll() for process in processes), None)
    for seconds, ending in ((_GRACE, signal.SIGTERM), (_LAST, signal.SIGKILL if os.name != "nt" else signal.SIGTERM)):
        _wait(processes, lambda: False, seconds)
        for process in processes:
            if process.poll() is None:
                process.send_signal(ending)
    return first


def _wait(processes: Sequence[subprocess.Popen[bytes]], enough: Callable[[], bool], seconds: float | None) -> int:
    """Wait until all processes have ended, or it is enough, or some seconds have passed; the first failed rank or 0."""
    began = time.monotonic()
    while any(process.poll() is None for process in processes) and not enough():
        if seconds is not None and time.monotonic() - began > seconds:
            break
        time.sleep(_POLL)
    return next((rank for rank, process in enumerate(processes) if process.returncode), 0)


def _raise_outcome(processes: Sequence[subprocess.Popen[bytes]], first: int, folder: Path) -> None:
    reports = [folder / f"{rank}.report" for rank in range(len(processes))]
    for file in reports:
        if file.is_file():
            raise pickle.loads(file.read_bytes())
    status = processes[first].returncode
    if status == 0:
        return
    if status == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    if status < 0 or status == 1:
        if first:
            sys.stderr.write((folder / f"{first}.output").read_text(errors="replace"))
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else "ended by the error above"
        raise UserError(
            f"process {first + 1} of {len(processes)} {how}, and the others with it; what was saved stays, and "
            "--resume continues from there"
        )
    raise SystemExit(status)
