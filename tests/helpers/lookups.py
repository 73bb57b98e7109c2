"""What a library looks up anew for every run of a process, and does not change while tests run: here once."""

from __future__ import annotations

import functools

from lightning_fabric.utilities import registry


def look_up_once() -> None:
    """Read the metadata of all installed packages once: Lightning Fabric does, for callbacks of theirs, for each run.

    That takes 30 ms, a part of a tiny run that is worth saving some thousand times.
    """
    if not hasattr(registry.entry_points, "cache_info"):
        registry.entry_points = functools.cache(registry.entry_points)
