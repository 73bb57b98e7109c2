"""What libraries look up anew for every run of a process, and does not change while tests run: here once, or never."""

from __future__ import annotations

import functools
import sys
import traceback
from types import FrameType

from lightning_fabric.utilities import registry


def look_up_once() -> None:
    """Save a tenth of a tiny run.

    Lightning Fabric reads the metadata of all installed packages for callbacks of theirs, which takes 30 ms. And for
    each seed PyTorch notes, three times, which lines set it, to say so if an accelerator fails on it later; tests hide
    accelerators.
    """
    if not hasattr(registry.entry_points, "cache_info"):
        registry.entry_points = functools.cache(registry.entry_points)
        traceback.format_stack = _no_stack_of_seeds(traceback.format_stack)


def _no_stack_of_seeds(format_stack: object) -> object:
    def call(f: FrameType | None = None, limit: int | None = None) -> list[str]:
        caller = sys._getframe(1)
        if f is None and caller.f_code.co_name == "_lazy_call":
            return []
        return format_stack(f or caller, limit)  # type: ignore[no-any-return, operator]

    return call
