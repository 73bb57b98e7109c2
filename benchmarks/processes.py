"""Core time and memory of processes, as Linux tells them in /proc."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def tree(pid: int) -> Iterator[int]:
    """A process, its children, and theirs."""
    yield pid
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has just ended
            for child in thread.read_text().split():
                yield from tree(int(child))


def core_seconds(processes: Iterable[int]) -> float:
    """Core time of processes and of those of their children that have ended, since their start; 0 without /proc."""
    ticks = 0
    for process in processes:
        with contextlib.suppress(OSError):  # it has just ended, and counts as its parent's child
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def allocated(pid: int) -> int:
    """Bytes that a process has allocated or shares in /dev/shm, each page divided among those who share it."""
    sizes = proportional(pid)
    return sizes["Pss_Anon"] + sizes["Pss_Shmem"]


def proportional(pid: int) -> dict[str, int]:
    """Bytes of a process by type, each page divided among the processes that share it ("Pss": all together)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    fields = (line.split() for line in lines if line.startswith("Pss"))
    return {name.rstrip(":"): int(kilobytes) * 1024 for name, kilobytes, _ in fields}
