"""A bar for work that goes through named phases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def phases() -> Iterator[Callable[[int, int, str], None]]:
    """Give a function ``(done, total, phase)`` that draws a bar for each phase, with rate and time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Of a bar that nobody sees, a blank line would be left; of several processes, the first draws.
    hidden = not console.is_terminal or os.environ.get("RANK", "0") != "0"
    with Progress(*columns, console=console, transient=True, disable=hidden) as bars:

        def show(done: int, total: int, phase: str) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done, total=total, visible=done < total)

        yield show
