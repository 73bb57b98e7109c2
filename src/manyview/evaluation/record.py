"""The file that an evaluation leaves behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manyview import distributed
from manyview.runs import atomic_write

RESULT_FILE = "metrics.json"


def write_result(folder: Path, result: dict[str, Any]) -> Path:
    """Write metrics.json atomically; of several processes, the first alone.

    Raises:
        UserError: if it cannot be written.
    """
    file = folder / RESULT_FILE
    if distributed.rank() == 0:
        atomic_write(file, json.dumps(result, indent=2, allow_nan=False) + "\n")
    return file


def bounded(entries: Sequence[str], limit: int) -> dict[str, Any]:
    """How many entries there are ("count"), and the first of them ("first"), no more than ``limit``, as plain data."""
    return {"count": len(entries), "first": list(entries[:limit])}
