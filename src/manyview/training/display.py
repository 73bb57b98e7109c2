"""Progress of a run: a progress bar or log lines on the terminal."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import ProgressColumn, Task
from rich.text import Text

from manyview.runs.progress import BarDisplay, StepClock, spell


class _TimeLeft(ProgressColumn):
    """Time left of the whole run, from the duration of recent steps."""

    def render(self, task: Task) -> Text:
        seconds = task.fields.get("left")
        return Text("left " + (spell(seconds) if seconds is not None else "…"), style="cyan")


class TrainingDisplay(BarDisplay):
    """A progress bar on a terminal; elsewhere a line for each epoch, and within long ones a line a minute."""

    def __init__(self, steps: int, epochs: int, *, console: Console) -> None:
        super().__init__(
            console, "epoch {task.fields[epoch]}", "{task.completed:,.0f}/{task.total:,.0f} steps", _TimeLeft()
        )
        self.steps = steps
        self.epochs = epochs
        self.start = 0  # optimizer steps done before a resumed run was stopped

    def __enter__(self) -> TrainingDisplay:
        super().__enter__()
        label = f"{1:,}/{self.epochs:,}"
        self._task = self._progress.add_task(
            "", total=self.steps, completed=self.start, epoch=label, status="measuring the first steps", left=None
        )
        return self

    def update(self, step: int, epoch: int, loss: float, views_per_step: int, clock: StepClock) -> None:
        """Show the state after an optimizer step."""
        rate = views_per_step / clock.seconds_per_step if clock.count else 0.0
        left = (self.steps - step) * clock.seconds_per_step if clock.count else None
        at = f"{epoch + 1:,}/{self.epochs:,}"
        status = f"loss {loss:+.4f}  {rate:,.0f} views/s  waiting for data {clock.waiting:.0%}"
        self._progress.update(self._task, completed=step, epoch=at, status=status, left=left)
        if left is not None:
            self.log(f"step {step:,}/{self.steps:,}  epoch {at}  {status}  left {spell(left)}", now=False)

    def epoch_done(self, epoch: int, loss: float, std: float | None, rank: float | None, left: float) -> None:
        """Print a line for the epoch, unless there is a progress bar."""
        health = f"  std {std:.2f}  rank {rank:.1f}" if std is not None and rank is not None else ""
        self.log(f"epoch {epoch + 1}/{self.epochs}  loss {loss:+.4f}{health}  left {spell(left)}")

    def quality_measured(self, step: int, figures: str, seconds: float) -> None:
        """Print a measurement of the backbone."""
        self.say(f"{time.strftime('%H:%M:%S')}  step {step:,}/{self.steps:,}  {figures}  (took {spell(seconds)})")
