"""Progress of long work: a callback, the speed of recent steps, and durations as text."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from manyview.terminal import SafeConsole

Progress = Callable[[int, int, str], None]
"""Called with the amount done, the total and the name of the phase; a new phase begins at 0."""

Bar = TypeVar("Bar", bound="BarDisplay")

# Number of recent steps that rates are averaged over: they follow changes but do not flicker.
_WINDOW = 50
SECONDS_BETWEEN_LINES = 60.0
"""Where there is no bar, the progress within a phase is a line as often as this."""


def no_progress(done: int, total: int, phase: str) -> None:
    """Ignore progress."""


Phases = Callable[[], AbstractContextManager[Progress]]
"""Opens the display of the progress of one piece of work; no two are open at a time."""


@contextmanager
def no_phases() -> Iterator[Progress]:
    """Progress that is not shown."""
    yield no_progress


class StepClock:
    """Duration of recent steps, and the time spent waiting for data."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float]] = deque(maxlen=_WINDOW)

    def add(self, seconds: float, waited: float) -> None:
        """Record one step: its duration and the time spent waiting for the loader, in seconds."""
        self._steps.append((seconds, waited))

    @property
    def count(self) -> int:
        """Number of steps in the window."""
        return len(self._steps)

    @property
    def seconds_per_step(self) -> float:
        """Mean duration of a step, in seconds."""
        return sum(seconds for seconds, _ in self._steps) / max(len(self._steps), 1)

    @property
    def waiting(self) -> float:
        """Fraction of the time spent waiting for data, 0 to 1."""
        total = sum(seconds for seconds, _ in self._steps)
        return sum(waited for _, waited in self._steps) / total if total else 0.0


def spell(seconds: float) -> str:
    """A duration as short text for a progress bar: ``42 s``, ``7 min 05 s``, ``3 h 20 min``, ``2 d 4 h``."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


class StatusColumn(ProgressColumn):
    """Status text truncated to the width that other columns leave; otherwise rich would truncate all columns alike."""

    def __init__(self) -> None:
        super().__init__(Column(overflow="ellipsis"))

    def render(self, task: Task) -> Text:
        """The task's field ``status``."""
        return Text(task.fields["status"], no_wrap=True)


class _LastingStderr(io.TextIOBase):
    """Standard error as it is at each call, whose loss is no error.

    Its reader may end (``2>&1 | head``), its terminal close, the disk of its file be full. What is printed from then on
    is dropped, so that Python can still flush the stream at its end; the run's files say what there is to know.
    """

    def _stream(self) -> Any:
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)  # not rich's own redirection to this console

    def write(self, text: str) -> int:
        """Write, or drop what cannot be written."""
        self._try(lambda stream: stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush what can be."""
        self._try(lambda stream: stream.flush())

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return bool(self._stream().isatty())

    def fileno(self) -> int:
        """Its file descriptor."""
        return int(self._stream().fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """How text becomes bytes."""
        return getattr(self._stream(), "encoding", None) or "utf-8"

    def _try(self, use: Callable[[Any], Any]) -> None:
        try:
            use(self._stream())
        except OSError:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, sys.stderr.fileno())
                os.close(nowhere)


def run_console(enabled: bool = True, *, soft_wrap: bool = True) -> Console:
    """Console on standard error, whose loss does not end a run; silent unless ``enabled``."""
    file: Any = _LastingStderr()
    return SafeConsole(file=file, quiet=not enabled, soft_wrap=soft_wrap)


class BarDisplay:
    """Transient progress bars on a terminal with messages above them; a context manager.

    Args:
        console: output; without a terminal, messages and ``log`` are printed.
        label: format of the text before the bar, such as ``"{task.description}"``.
        count: format of the text after the bar.
        columns: further columns, before the status.
    """

    def __init__(self, console: Console, label: str, count: str, *columns: ProgressColumn) -> None:
        self.console = console
        self._logged_at = time.monotonic()
        self._progress = Bars(
            TextColumn(label),
            BarColumn(bar_width=12),
            TextColumn(count),
            *columns,
            StatusColumn(),
            console=console,
            transient=True,
            disable=console.quiet or not console.is_terminal,
        )

    def __enter__(self: Bar) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str, style: str | None = None) -> None:
        """Print a message above the bars."""
        self.console.print(text, style=style, highlight=False, markup=False)

    def log(self, text: str, *, now: bool = True) -> None:
        """Print a line with the time of day where there is no bar: now, or if the last one is a minute old."""
        if self.console.is_terminal or not (now or time.monotonic() - self._logged_at >= SECONDS_BETWEEN_LINES):
            return
        self._logged_at = time.monotonic()
        self.say(f"{time.strftime('%H:%M:%S')}  {text}")
