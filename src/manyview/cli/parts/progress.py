"""Progress bars for work in named phases, and for evaluations."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from manyview.runs.progress import SECONDS_BETWEEN_LINES, run_console, spell
from manyview.terminal import SafeConsole

_SECONDS_TO_A_PHASE = 15.0  # after which the beginning of another phase is worth a line


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(rate_in_words(task.speed), style="progress.data.speed")


def rate_in_words(speed: float | None) -> str:
    """Items per second, or seconds per item; empty while unknown."""
    if not speed:
        return ""
    return f"{1 / speed:.1f} s each" if speed < 1 else f"{speed:.1f}/s" if speed < 10 else f"{speed:,.0f}/s"


class _Lines:
    """Progress of a phase as occasional lines, for logs, where there is no bar."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._phase, self._begun, self._printed, self._first = "", 0.0, time.monotonic(), 0

    def show(self, done: int, total: int, phase: str) -> None:
        """Print a line, unless the last one was less than a minute ago, or a quarter where a phase begins."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._begun, self._first = phase, now, done
            if done < total and now - self._printed >= _SECONDS_TO_A_PHASE:
                self._print(f"{phase}: {done:,} of {total:,}", now)
        if done >= total or done == self._first or now - self._printed < SECONDS_BETWEEN_LINES:
            return
        speed = (done - self._first) / max(now - self._begun, 1e-9)
        left = f"left {spell((total - done) / speed)}"
        self._print(f"{phase}: {done:,} of {total:,}, {rate_in_words(speed)}, {left}", now)

    def _print(self, line: str, now: float) -> None:
        self._printed = now
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def phases() -> Iterator[Callable[[int, int, str], None]]:
    """Yield a function ``(done, total, phase)`` that draws a bar for each phase, with rate and time left.

    Without a terminal it prints a line a minute. Of several processes, only the first prints.
    """
    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    console = run_console(soft_wrap=False)
    silent, lines = os.environ.get("RANK", "0") != "0", _Lines(console)
    # An invisible bar would leave a blank line.
    hidden = silent or not console.is_terminal
    bars = Progress(*columns, console=console, transient=True, disable=hidden)

    def show(done: int, total: int, phase: str) -> None:
        if hidden and not silent:
            lines.show(done, total, phase)
        if not tasks:
            bars.start()
        if phase not in tasks:
            tasks[phase] = bars.add_task(phase, total=total)
        bars.update(tasks[phase], completed=done, total=total, visible=done < total)

    try:
        yield show  # bars without any would wipe the line on which images are counted before the first phase
    finally:
        if tasks:
            bars.stop()


def show_evaluation(
    evaluate: Callable[..., dict[str, Any]],
    weights: Path,
    options: Mapping[str, Any],
    table: Callable[[dict[str, Any]], RenderableType],
    *files: str,
) -> None:
    """Run an evaluation with progress bars, print its table and its files; of several processes, only the first prints.

    Args:
        evaluate: function from weights, options and progress to the result.
        weights: run folder or checkpoint file.
        options: by name; "out" is the folder for the result, or None.
        table: function from the result to the table.
        files: names of the files that are written to the folder.
    """
    from manyview.distributed import rank
    from manyview.evaluation.resume import FOLDER
    from manyview.evaluation.tables import emphasize

    out: Path | None = options["out"]
    try:
        with phases() as progress:
            result = evaluate(weights, **options, progress=progress)
    except KeyboardInterrupt:
        if out is not None and (out / FOLDER).is_dir() and rank() == 0:
            kept = f"Stopped; what is done is kept in {out / FOLDER}. Continue with --resume."
            run_console().print(kept, highlight=False, markup=False)
        raise
    console = SafeConsole(quiet=rank() > 0)
    console.print(emphasize(table(result), result["protocol"]))
    for remark in result["provenance"].get("remarks", ()):
        console.print(f"Warning: {remark}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    if out is not None:
        written = " and ".join(str(out / file) for file in files)
        console.print(f"Written to {written}", highlight=False, markup=False, soft_wrap=True)
