"""What a progress bar looks like on a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console


def bars(width: int, show: Callable[[Console], Any]) -> list[str]:
    """The lines of a display's bars.

    Args:
        width: columns of the terminal.
        show: opens a display on the console and brings it to where it is to be seen; gives the display.
    """
    target = io.StringIO()
    display = show(Console(file=target, force_terminal=True, width=width, color_system=None))
    display._progress.refresh()
    target.truncate(0)
    display._progress.refresh()
    lines = target.getvalue().replace("\x1b[2K", "").replace("\x1b[1A", "").replace("\r", "\n").splitlines()
    display.__exit__(None, None, None)
    return [line.strip("\0 ") for line in lines if line.strip("\0 ")]
