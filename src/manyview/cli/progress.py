"""A bar for work that goes through named phases, and evaluations under it."""

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

from manyview.runs.progress import spell

SECONDS_BETWEEN_LINES = 60.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(rate_in_words(task.speed), style="progress.data.speed")


def rate_in_words(speed: float | None) -> str:
    """How many are done in a second, or how long each takes; nothing while that is not known."""
    if not speed:
        return ""
    return f"{1 / speed:.1f} s each" if speed < 1 else f"{speed:.1f}/s" if speed < 10 else f"{speed:,.0f}/s"


class _Lines:
    """How far a phase is, in a line from time to time: for a log, where nobody sees a bar."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._phase, self._begun, self._said, self._first = "", 0.0, time.monotonic(), 0

    def show(self, done: int, total: int, phase: str) -> None:
        """Print a line, if the last one was a while ago."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._begun, self._first = phase, now, done
        if done >= total or done == self._first or now - self._said < SECONDS_BETWEEN_LINES:
            return
        self._said = now
        speed = (done - self._first) / max(now - self._begun, 1e-9)
        left = f"left {spell((total - done) / speed)}"
        line = f"{phase}: {done:,} of {total:,}, {rate_in_words(speed)}, {left}"
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def phases() -> Iterator[Callable[[int, int, str], None]]:
    """Give a function ``(done, total, phase)`` that draws a bar for each phase, with rate and time left.

    Where there is no terminal, it prints the same in a line a minute. Of several processes, the first one speaks.
    """
    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    console = Console(stderr=True)
    silent, lines = os.environ.get("RANK", "0") != "0", _Lines(console)
    # Of a bar that nobody sees, a blank line would be left.
    hidden = silent or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bars:

        def show(done: int, total: int, phase: str) -> None:
            if hidden and not silent:
                lines.show(done, total, phase)
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done, total=total, visible=done < total)

        yield show


def show_evaluation(
    evaluate: Callable[..., dict[str, Any]],
    weights: Path,
    options: Mapping[str, Any],
    table: Callable[[dict[str, Any]], RenderableType],
    *files: str,
) -> None:
    """Evaluate under bars, print the table, and name the files; of several processes, the first prints.

    Args:
        evaluate: from weights, options and a progress to the result.
        weights: run folder or checkpoint file.
        options: by name; "out" is the folder for the result, or None.
        table: of the result.
        files: what the folder then holds.
    """
    from manyview.distributed import rank
    from manyview.evaluation.resume import FOLDER

    out: Path | None = options["out"]
    try:
        with phases() as progress:
            result = evaluate(weights, **options, progress=progress)
    except KeyboardInterrupt:
        if out is not None and (out / FOLDER).is_dir() and rank() == 0:
            kept = f"Stopped; what is done is kept in {out / FOLDER}. Continue with --resume."
            Console(stderr=True).print(kept, highlight=False, markup=False, soft_wrap=True)
        raise
    console = Console(quiet=rank() > 0)
    console.print(table(result))
    if out is not None:
        places = " and ".join(str(out / file) for file in files)
        console.print(f"Written to {places}", highlight=False, markup=False, soft_wrap=True)
