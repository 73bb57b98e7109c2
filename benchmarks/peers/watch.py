"""A process and its children, watched from outside: core time, memory, and when its log says that a step is done."""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import allocated, core_seconds, tree

TOLD = 20  # last lines of a failed command
POLL, MEMORY_POLL = 0.05, 0.5  # seconds


@dataclass
class Watched:
    """What was seen of a command that has ended.

    Attributes:
        steps: for each step in its log, seconds by the clock and core seconds from the start until the line was there.
        seconds: by the clock, in all.
        core_seconds: of all processes, in all.
        peak_bytes: highest memory of all processes together, each page divided among those that share it; 0 if it was
            not asked for.
    """

    steps: dict[int, tuple[float, float]] = field(default_factory=dict)
    seconds: float = 0.0
    core_seconds: float = 0.0
    peak_bytes: int = 0


def watch(
    words: Sequence[str],
    metrics: Path,
    environment: Mapping[str, str],
    log: Path,
    *,
    poll: float = POLL,
    memory: bool = False,
) -> Watched:
    """Run a command to its end.

    Args:
        metrics: its log, which is read as it grows: a JSON object a line, of which those with a step count.
        environment: added to this process's own.
        log: file for what it prints.
        poll: seconds between two looks. Looking costs core time of the watching process.
        memory: measure memory too, at most twice a second.

    Raises:
        SystemExit: the command failed.
    """
    found, began, read, looked = Watched(), time.monotonic(), 0, -math.inf
    with (
        log.open("a") as printed,
        subprocess.Popen(words, env={**os.environ, **environment}, stdout=printed, stderr=subprocess.STDOUT) as process,
    ):
        while True:
            ended = process.poll() is not None
            if not ended:
                found.core_seconds = max(found.core_seconds, core_seconds(tree(process.pid)))
            found.seconds = time.monotonic() - began
            if memory and not ended and found.seconds - looked >= MEMORY_POLL:
                found.peak_bytes, looked = max(found.peak_bytes, sum(map(_memory, tree(process.pid)))), found.seconds
            lines = _complete_lines(metrics)
            for line in lines[read:]:
                if "step" in line:
                    found.steps.setdefault(line["step"], (found.seconds, found.core_seconds))
            read = len(lines)
            if ended:
                break
            time.sleep(poll)
    if process.returncode:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-TOLD:])
        raise SystemExit(f"{shlex.join(words)} failed with {process.returncode}:\n{end}")
    return found


def _complete_lines(file: Path) -> list[dict[str, int]]:
    """The lines of a log, without one that is still being written."""
    try:
        text = file.read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _memory(pid: int) -> int:
    try:
        return allocated(pid)
    except (OSError, KeyError):
        return 0
