"""Progress of a run: a progress bar or log lines on the terminal, and TensorBoard curves."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    """A progress bar on a terminal; elsewhere one line per epoch."""

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
        self._progress.update(
            self._task,
            completed=step,
            epoch=f"{epoch + 1:,}/{self.epochs:,}",
            status=f"loss {loss:+.4f}  {rate:,.0f} views/s  waiting for data {clock.waiting:.0%}",
            left=(self.steps - step) * clock.seconds_per_step if clock.count else None,
        )

    def epoch_done(self, epoch: int, loss: float, std: float | None, rank: float | None, left: float) -> None:
        """Print a line for the epoch, unless there is a progress bar."""
        if not self.console.is_terminal:
            health = f"  std {std:.2f}  rank {rank:.1f}" if std is not None and rank is not None else ""
            clock = time.strftime("%H:%M:%S")
            self.say(f"{clock}  epoch {epoch + 1}/{self.epochs}  loss {loss:+.4f}{health}  left {spell(left)}")

    def quality_measured(self, step: int, figures: str, seconds: float) -> None:
        """Print a measurement of the backbone."""
        self.say(f"{time.strftime('%H:%M:%S')}  step {step:,}/{self.steps:,}  {figures}  (took {spell(seconds)})")


class Curves:
    """Writes each record's numbers to ``RUN/tensorboard``, where TensorBoard is installed.

    ``metrics.jsonl`` holds the same numbers in any case.

    Args:
        folder: the run's folder.
        step: optimizer steps done; curves beyond it, from a killed run, are discarded.
        enabled: False on all processes but the first.
    """

    def __init__(self, folder: Path, step: int, *, enabled: bool = True) -> None:
        self._writer: Any = None
        if enabled and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add the numbers of a ``metrics.jsonl`` record, prefixed with its type."""
        if self._writer is None:
            return
        for name, value in record.items():
            if isinstance(value, int | float) and name not in ("step", "epoch", "elapsed"):
                self._writer.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def close(self) -> None:
        """Flush and close the writer."""
        if self._writer is not None:
            self._writer.close()
