"""Curves for TensorBoard, where it is installed; ``metrics.jsonl`` holds the same numbers in any case."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Curves:
    """Writes each record's numbers to ``RUN/tensorboard``.

    Args:
        folder: the run's folder.
        step: optimiser steps done; curves beyond it, of a run that was killed, are discarded.
        enabled: False on all processes but the first.
    """

    def __init__(self, folder: Path, step: int, *, enabled: bool = True) -> None:
        self._writer: Any = None
        if enabled and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a record of ``metrics.jsonl``: its numbers, under its kind."""
        if self._writer is None:
            return
        for name, value in record.items():
            if isinstance(value, int | float) and name not in ("step", "epoch"):
                self._writer.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def close(self) -> None:
        """Write out what is pending."""
        if self._writer is not None:
            self._writer.close()
