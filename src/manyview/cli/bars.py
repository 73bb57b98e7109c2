"""A bar for work that goes through named phases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
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


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(rate_in_words(task.speed), style="progress.data.speed")


def rate_in_words(speed: float | None) -> str:
    """How many are done in a second, or how long each takes; nothing while that is not known."""
    if not speed:
        return ""
    return f"{1 / speed:.1f} s each" if speed < 1 else f"{speed:.1f}/s" if speed < 10 else f"{speed:,.0f}/s"


@contextmanager
def phases() -> Iterator[Callable[[int, int, str], None]]:
    """Give a function ``(done, total, phase)`` that draws a bar for each phase, with rate and time left."""
    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Of a bar that nobody sees, a blank line would be left; of several processes, the first draws.
    hidden = not console.is_terminal or os.environ.get("RANK", "0") != "0"
    with Progress(*columns, console=console, transient=True, disable=hidden) as bars:

        def show(done: int, total: int, phase: str) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done, total=total, visible=done < total)

        yield show
