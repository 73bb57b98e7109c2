"""What a run shows while it works."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from manyview.runs.progress import StatusColumn, StepClock, spell


class _TimeLeft(ProgressColumn):
    """Time left of the whole run, from the last steps' pace."""

    def render(self, task: Task) -> Text:
        seconds = task.fields.get("left")
        return Text("left " + (spell(seconds) if seconds is not None else "…"), style="cyan")


class Display:
    """A progress bar on a terminal, a line an epoch elsewhere; silent on all processes but the first."""

    def __init__(
        self, steps: int, epochs: int, *, start: int = 0, enabled: bool = True, console: Console | None = None
    ):
        self.console = console or Console(stderr=True, quiet=not enabled, soft_wrap=True)
        self.steps = steps
        self.epochs = epochs
        self.start = start
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=12),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            _TimeLeft(),
            StatusColumn(),
            console=self.console,
            transient=True,
            disable=not (enabled and self.console.is_terminal),
        )

    def __enter__(self) -> Display:
        self._progress.start()
        label = f"{1:,}/{self.epochs:,}"
        self._task = self._progress.add_task(
            "", total=self.steps, completed=self.start, epoch=label, status="measuring the first steps", left=None
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str, style: str | None = None) -> None:
        """Print a sentence above the bar."""
        self.console.print(text, style=style, highlight=False, markup=False)

    def update(self, step: int, epoch: int, loss: float, views_per_step: int, clock: StepClock) -> None:
        """Show the state after an optimiser step."""
        rate = views_per_step / clock.seconds_per_step if clock.count else 0.0
        self._progress.update(
            self._task,
            completed=step,
            epoch=f"{epoch + 1:,}/{self.epochs:,}",
            status=f"loss {loss:+.4f}  {rate:,.0f} views/s  waiting for data {clock.waiting:.0%}",
            left=(self.steps - step) * clock.seconds_per_step if clock.count else None,
        )

    def epoch_done(self, epoch: int, loss: float, std: float | None, rank: float | None, left: float) -> None:
        """On a terminal the bar says it all; in a log file each epoch leaves a line."""
        if not self.console.is_terminal:
            health = f"  deviation {std:.2f}  rank {rank:.1f}" if std is not None and rank is not None else ""
            clock = time.strftime("%H:%M:%S")
            self.say(f"{clock}  epoch {epoch + 1}/{self.epochs}  loss {loss:+.4f}{health}  left {spell(left)}")
