"""Memory that loader processes share with the process that starts them."""

from __future__ import annotations

import gc


class SharedObjects:
    """Keeps all objects that there are out of garbage collections, while forked processes share their memory.

    A collection writes to every object that it looks at. In this process or in a loader process, it would give each of
    them a copy of the objects of all libraries: some 100 MB, at the first full collection, which may come after hours.

    Those of several loaders hold together: objects are collected again after the last release. A program that has
    frozen its objects itself keeps them so.
    """

    _held = 0
    _programs_own = False

    def __init__(self) -> None:
        if not SharedObjects._held:
            SharedObjects._programs_own = gc.get_freeze_count() > 0
        SharedObjects._held += 1
        self._released = False
        gc.freeze()

    def release(self) -> None:
        """Let the objects be collected again; may be called repeatedly."""
        if self._released:
            return
        self._released = True
        SharedObjects._held -= 1
        if not SharedObjects._held and not SharedObjects._programs_own:
            gc.unfreeze()
