"""Progress of fine-tuning on the terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console

from manyview.runs.progress import BarDisplay, StepClock, run_console, spell

_SECONDS_BETWEEN_LINES = 30.0
_SHORT = {
    "loss_classifier": "class",
    "loss_box_reg": "box",
    "loss_mask": "mask",
    "loss_objectness": "proposal",
    "loss_rpn_box_reg": "proposal box",
}


class DetectionDisplay(BarDisplay):
    """A progress bar on a terminal, elsewhere a line every half a minute; enabled on the first process only.

    Args:
        iterations: of the whole run.
        enabled: whether to show anything.
        console: where it is shown; unset: standard error.
    """

    def __init__(self, iterations: int, *, enabled: bool = True, console: Console | None = None) -> None:
        super().__init__(
            console or run_console(enabled), "{task.description}", "{task.completed:,.0f}/{task.total:,.0f}"
        )
        self.iterations = iterations
        self._line_at = 0.0
        self._measuring_since = 0.0
        self._training = self._progress.add_task("training", total=iterations, status="measuring the first iterations")
        self._measuring = self._progress.add_task("", total=1, visible=False, status="")

    def update(self, iteration: int, losses: Mapping[str, float], clock: StepClock) -> None:
        """Show the iterations done, the time left, and the sum of the losses with its parts."""
        left = (self.iterations - iteration) * clock.seconds_per_step
        parts = ", ".join(f"{short} {losses[name]:.2f}" for name, short in _SHORT.items() if name in losses)
        status = f"left {spell(left)}  loss {losses['loss']:.3f} ({parts})  waiting for data {clock.waiting:.0%}"
        self._progress.update(self._training, completed=iteration, status=status)
        self._log(f"iteration {iteration:,}/{self.iterations:,}  {status}", now=iteration == self.iterations)

    def measuring(self, done: int, total: int, what: str) -> None:
        """Show the progress of a phase other than training; on a terminal its bar disappears when done."""
        if done == 0:
            self._measuring_since = time.monotonic()
        took = time.monotonic() - self._measuring_since
        status = f"left {spell(took / done * (total - done))}" if done else ""
        self._progress.update(
            self._measuring, description=what, completed=done, total=total, visible=done < total, status=status
        )
        if 0 < done < total:
            self._log(f"{what} {done:,}/{total:,}  {status}")

    def _log(self, text: str, *, now: bool = False) -> None:
        """Print a line where there is no bar, if the last one is half a minute old or ``now`` is set."""
        if self.console.is_terminal or not (now or time.monotonic() - self._line_at >= _SECONDS_BETWEEN_LINES):
            return
        self._line_at = time.monotonic()
        self.say(f"{time.strftime('%H:%M:%S')}  {text}")
