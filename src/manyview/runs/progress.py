"""Progress of long work: a callback, the speed of recent steps, and durations as text."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from rich.progress import ProgressColumn, Task
from rich.table import Column
from rich.text import Text

Progress = Callable[[int, int, str], None]
"""Called with the amount done, the total and the name of the phase; a new phase begins at 0."""

# Number of recent steps that rates are averaged over: they follow changes but do not flicker.
_WINDOW = 50


def no_progress(done: int, total: int, phase: str) -> None:
    """Ignore progress."""


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
