"""Doing a table's jobs: one after the other in this process, or several GPUs' at a time in processes of their own."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from manyview.errors import UserError
from manyview.recipes.reproduce.jobs import Job, do, write_jobs
from manyview.runs.progress import Phases, no_phases
from manyview.runs.signals import StopRequest

Groups = Mapping[str, Sequence[Job]]
Done = Callable[[], None]
_USER_ERROR = 2  # exit code of a process
_POLL = 0.5  # seconds


def work_here(
    groups: Groups, done: Done, console: Console, *, phases: Phases = no_phases, quiet: bool = True
) -> dict[str, str]:
    """Do all jobs in this process; a group that fails does not stop the others.

    Args:
        groups: jobs in groups, each of which needs those before it in its group.
        done: called after each group of which something was left.
        console: for what is done and what fails.
        phases: progress bars of evaluations.
        quiet: print nothing of the jobs themselves.

    Returns:
        the user's errors, by the name of the job that failed.
    """
    failed: dict[str, str] = {}
    waiting = _left(groups)
    left, number = sum(map(len, waiting)), 0
    for jobs in waiting:
        for job in jobs:
            number += 1
            console.print(f"{number} of {left}: {job.name}", style="bold", highlight=False, markup=False)
            try:
                do(job, phases=phases, quiet=quiet)
            except UserError as error:
                failed[job.name] = str(error)
                console.print(f"{job.name} failed: {error}", style="yellow", highlight=False, markup=False)
                break
        done()
    return failed


def _left(groups: Groups) -> list[list[Job]]:
    """The jobs of each group that are not done, without groups that are."""
    left = ([job for job in jobs if job.state != "done"] for jobs in groups.values())
    return [jobs for jobs in left if jobs]


def read_gpus(text: str) -> tuple[str, ...]:
    """Names of GPUs as CUDA_VISIBLE_DEVICES has them, of a list such as "0,1".

    Raises:
        UserError: one is empty, is not a number, or is named twice.
    """
    names = tuple(part.strip() for part in text.split(","))
    if not all(re.fullmatch(r"\d+", name) for name in names) or len(set(names)) < len(names):
        raise UserError(f"--gpus {text}: give the GPUs' numbers, each once, as in --gpus 0,1")
    return names


def work_on_gpus(groups: Groups, done: Done, console: Console, gpus: Sequence[str], logs: Path) -> dict[str, str]:
    """Do all jobs, on each GPU one group at a time, in processes whose output is kept in files.

    Ctrl-C and SIGTERM end the processes by SIGTERM, so that runs are saved, and then this one.

    Args:
        groups: as for ``work_here``.
        done: called after each group, by one thread at a time.
        console: for what is begun and what fails.
        gpus: by the names that CUDA_VISIBLE_DEVICES takes.
        logs: folder for the processes' jobs and output.

    Returns:
        the errors, by the name of the group's first job.

    Raises:
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, after the processes have ended.
    """
    waiting: queue.SimpleQueue[Sequence[Job]] = queue.SimpleQueue()
    for jobs in _left(groups):
        waiting.put(jobs)
    pool = _Pool(waiting, done, console, logs)
    threads = [threading.Thread(target=pool.serve, args=(gpu,), daemon=True) for gpu in gpus]
    for thread in threads:
        thread.start()
    with StopRequest() as stop:
        for thread in threads:
            while thread.is_alive():
                thread.join(_POLL)
                if stop.signal is not None:
                    pool.end()
        if stop.signal is not None:
            stop.act()
    if pool.bug is not None:
        raise pool.bug
    return pool.failed


class _Pool:
    """Processes on several GPUs.

    Attributes:
        failed: errors by the name of the group's first job.
        bug: an exception of ``done``.
    """

    def __init__(self, waiting: queue.SimpleQueue[Sequence[Job]], done: Done, console: Console, logs: Path) -> None:
        self.failed: dict[str, str] = {}
        self.bug: BaseException | None = None
        self._waiting, self._done, self._console, self._logs = waiting, done, console, logs
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ending = False

    def serve(self, gpu: str) -> None:
        """Do groups on a GPU until none is left."""
        while True:
            try:
                jobs = self._waiting.get_nowait()
            except queue.Empty:
                return
            error = self._process(jobs, gpu)
            with self._lock:
                if self._ending:
                    return
                if error:
                    self.failed[jobs[0].name] = error
                    self._console.print(
                        f"{jobs[0].name} failed: {error}", style="yellow", highlight=False, markup=False
                    )
                try:
                    self._done()
                except BaseException as bug:
                    self.bug = bug
                    return

    def _process(self, jobs: Sequence[Job], gpu: str) -> str:
        """Do a group in a process of its own; what went wrong, or ""."""
        name = Path(jobs[0].folder).name
        file, log = self._logs / f"{name}.json", self._logs / f"{name}.log"
        write_jobs(file, list(jobs))
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
        with log.open("ab") as output:
            with self._lock:
                if self._ending:
                    return ""
                command = [sys.executable, "-m", "manyview.recipes.reproduce.jobs", str(file)]
                # In a group of its own, as a terminal's Ctrl-C and then SIGTERM would end a run before it is saved.
                process = subprocess.Popen(
                    command, stdout=output, stderr=subprocess.STDOUT, env=environment, process_group=0
                )
                self._running.add(process)
                self._console.print(f"GPU {gpu}: {jobs[0].name}, see {log}", highlight=False, markup=False)
            status = process.wait()
            with self._lock:
                self._running.discard(process)
        if status == 0:
            return ""
        lines = log.read_text(errors="replace").strip().splitlines() or [""]
        last = lines[-1].removeprefix("Error: ")
        return f"{last} ({log})" if status == _USER_ERROR else f"ended with status {status}: {last} ({log})"

    def end(self) -> None:
        """End all processes, once; runs among them save first."""
        with self._lock:
            if self._ending:
                return
            self._ending = True
            for process in self._running:
                process.send_signal(signal.SIGTERM)
