"""A count on standard error of what is listed, where that takes more than a few seconds."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from manyview.runtime import is_command

if TYPE_CHECKING:
    from rich.console import Console

_SILENT = 3.0  # seconds before the count is shown
_ON_TERMINAL, _IN_LOG = 0.2, 60.0  # seconds between counts


class Counting:
    """Counts what is done, on the last line of a terminal, or once a minute on a line of a log; a context manager.

    Only the command shows it, of several processes the first: programs that call the library print what they want to.

    Args:
        text: what is counted, with ``{count}`` in it.
        total: of what is counted, if it is known.
    """

    def __init__(self, text: str, total: int | None = None) -> None:
        self._text, self._total, self._count = text, total, 0
        self._console: Console | None = None
        shown = is_command() and os.environ.get("RANK", "0") == "0"
        self._next = time.monotonic() + _SILENT if shown else float("inf")

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, *_: object) -> None:
        if self._console is not None and self._console.is_terminal:
            self._console.file.write("\r\x1b[K")
            self._console.file.flush()

    def add(self, count: int = 1) -> None:
        """Note that more is done."""
        self._count += count
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._show()

    def _show(self) -> float:
        """Show the count; returns the seconds until it is to be shown again."""
        from manyview.runs.progress import run_console  # which imports PyTorch
        from manyview.text import printable

        if self._console is None:
            self._console = run_console()
            if not self._console.is_terminal:
                return _IN_LOG - _SILENT
        of_total = "" if self._total is None else f" of {self._total:,}"
        text = printable(self._text.format(count=f"{self._count:,}{of_total}"))
        if self._console.is_terminal:
            self._console.file.write(f"\r{text[: self._console.width - 1]}\x1b[K")
            self._console.file.flush()
            return _ON_TERMINAL
        self._console.print(text, highlight=False)
        return _IN_LOG
