"""How work that takes long tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called as work goes on with how much is done, of how much, and of what; a new phase begins with nothing done."""


def no_progress(done: int, total: int, phase: str) -> None:
    """Report nothing."""
