"""Faults within a process: patches that a forked child makes before it works."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_IMAGES = (".jpg", ".png")


def on_file_events(act: Callable[[int, str, Path | None], None]) -> None:
    """Call a function before each operation on files: its number from 0, its name, and the file if it is known.

    Operations are those of atomic writing and deleting: flush, rename, unlink.
    """
    seen = [0]

    def note(name: str, target: object) -> None:
        number, seen[0] = seen[0], seen[0] + 1
        act(number, name, target if isinstance(target, Path) else None)

    def announced(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def announce(*arguments: Any, **options: Any) -> Any:
            note(name, arguments[0])
            return original(*arguments, **options)

        setattr(owner, name, announce)

    announced(os, "fsync")
    announced(Path, "replace")
    announced(Path, "unlink")


def die_before(event: int) -> None:
    """The process is killed before its event-th operation on files."""

    def act(number: int, name: str, file: Path | None) -> None:
        if number == event:
            os.kill(os.getpid(), signal.SIGKILL)

    on_file_events(act)


def die_with_half_a_file(event: int) -> None:
    """The process is killed at the first rename from the event-th operation on, with half of the file written."""

    def act(number: int, name: str, file: Path | None) -> None:
        if number >= event and name == "replace" and file is not None:
            os.truncate(file, file.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    on_file_events(act)


def fail_from(event: int, number: int, times: int) -> None:
    """Operations on files fail from the event-th on, so many times.

    Args:
        event: the first to fail.
        number: of the error, such as ``errno.ENOSPC``.
        times: how many fail.
    """

    def act(seen: int, name: str, file: Path | None) -> None:
        if event <= seen < event + times and name != "unlink":  # files can be deleted on a full disk
            raise OSError(number, os.strerror(number))

    on_file_events(act)


def limit_files(size: int) -> None:
    """No file may grow beyond a size; the system says so as an error instead of a signal."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def slow_reads(seed: int) -> None:
    """Images are read with delays, some of them long."""
    draws = random.Random(seed)

    def wait(path: Path) -> None:
        time.sleep(draws.choice((0, 0, 0.002, 0.05)))

    _before_reading(wait)


def hang_at(name: str) -> None:
    """The read of one image never ends."""

    def wait(path: Path) -> None:
        while path.name == name:
            time.sleep(3600)

    _before_reading(wait)


def die_at_read(name: str, parent: int) -> None:
    """A loader process, other than the given one, is killed when it reads an image."""

    def wait(path: Path) -> None:
        if path.name == name and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    _before_reading(wait)


def _before_reading(act: Callable[[Path], None]) -> None:
    original = Path.read_bytes

    def read_bytes(self: Path) -> bytes:
        if self.suffix in _IMAGES:
            act(self)
        return original(self)

    Path.read_bytes = read_bytes  # type: ignore[method-assign]


def shift_clock(seconds: float) -> None:
    """The clock of the day is wrong; that which only runs on is not."""
    original = time.time
    time.time = lambda: original() + seconds
