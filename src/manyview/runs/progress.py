"""How work that takes long tells how far it is: a callback, the pace of the last steps, durations in words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

Progress = Callable[[int, int, str], None]
"""Called as work goes on with how much is done, of how much, and of what; a new phase begins with nothing done."""

Bar = TypeVar("Bar", bound="BarDisplay")

# Rates are taken over the last steps, so that they follow a change but do not flicker.
_WINDOW = 50


def no_progress(done: int, total: int, phase: str) -> None:
    """Report nothing."""


class StepClock:
    """Times of the last steps: the whole step, and its share spent waiting for data."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float]] = deque(maxlen=_WINDOW)

    def add(self, seconds: float, waited: float) -> None:
        """Count one step of so many seconds, of which so many were spent waiting for the loader."""
        self._steps.append((seconds, waited))

    @property
    def count(self) -> int:
        """Steps in the window."""
        return len(self._steps)

    @property
    def seconds_per_step(self) -> float:
        """Mean time of a step, in seconds."""
        return sum(seconds for seconds, _ in self._steps) / max(len(self._steps), 1)

    @property
    def waiting(self) -> float:
        """Share of the time spent waiting for data, 0 to 1."""
        total = sum(seconds for seconds, _ in self._steps)
        return sum(waited for _, waited in self._steps) / total if total else 0.0


def spell(seconds: float) -> str:
    """A duration in words short enough for a bar: ``42 s``, ``7 min 05 s``, ``3 h 20 min``, ``2 d 4 h``."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


class StatusColumn(ProgressColumn):
    """Words in the room that the other columns leave, cut where it ends: rich would else cut all columns alike."""

    def __init__(self) -> None:
        super().__init__(Column(overflow="ellipsis"))

    def render(self, task: Task) -> Text:
        """What the task's field ``status`` says."""
        return Text(task.fields["status"], no_wrap=True)


def run_console(enabled: bool) -> Console:
    """The console on which a run reports: standard error, or none unless ``enabled``."""
    return Console(stderr=True, quiet=not enabled, soft_wrap=True)


class BarDisplay:
    """Progress bars on a terminal, gone when the work ends, and sentences above them; a context manager.

    Args:
        console: where; on one that is quiet or not a terminal, sentences alone are printed.
        label: format of what stands before a bar, such as ``"{task.description}"``.
        count: format of what stands behind it.
        columns: further ones, before the status.
    """

    def __init__(self, console: Console, label: str, count: str, *columns: ProgressColumn) -> None:
        self.console = console
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
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str, style: str | None = None) -> None:
        """Print a sentence above the bars."""
        self.console.print(text, style=style, highlight=False, markup=False)
