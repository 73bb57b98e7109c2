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
        done: called after each group.
        console: for what is done and what fails.
        phases: progress bars of evaluations.
        quiet: print nothing of the jobs themselves.

    Returns:
        the user's errors, by the name of the job that failed.
    """
    failed: dict[str, str] = {}
    left = sum(job.state != "done" for jobs in groups.values() for job in jobs)
    number = 0
    for jobs in groups.values():
        for job in jobs:
            if job.state == "done":
                continue
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

    Ctrl-C and SIGTERM end the processes as they would end this one, so that runs are saved.

    Args:
        groups: as for ``work_here``.
        done: called after each group, by one thread at a time.
        console: for what is begun and what fails.
        gpus: by the names that CUDA_VISIBLE_DEVICES takes.
        logs: folder for the processes' jobs and output.

    Returns:
        the errors, by the name of the group's first job.
    """
    waiting: queue.SimpleQueue[Sequence[Job]] = queue.SimpleQueue()
    for jobs in groups.values():
        left = [job for job in jobs if job.state != "done"]
        if left:
            waiting.put(left)
    pool = _Pool(waiting, done, console, logs)
    threads = [threading.Thread(target=pool.serve, args=(gpu,), daemon=True) for gpu in gpus]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            threads[0].join(_POLL)
            for thread in threads[1:]:
                thread.join(0)
    except BaseException:
        pool.end()
        for thread in threads:
            thread.join()
        raise
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
                process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
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
        """End all processes; runs among them save first."""
        with self._lock:
            self._ending = True
            for process in self._running:
                process.send_signal(signal.SIGTERM)
