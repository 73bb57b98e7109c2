"""The file that an evaluation leaves behind."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manyview import distributed
from manyview.errors import UserError
from manyview.runs import atomic_write
from manyview.runs.plain_data import plain

__all__ = ["RESULT_FILE", "bounded", "claim_output", "plain", "write_result"]

RESULT_FILE = "metrics.json"


def claim_output(folder: Path) -> None:
    """Make the folder for a result, before any work is done.

    Raises:
        UserError: if it already holds a result, or cannot be made or written.
    """
    if (folder / RESULT_FILE).exists():
        raise UserError(f"{folder} already holds a {RESULT_FILE}: choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{folder} is a file: choose a folder for the result") from None
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write into {folder}: choose another folder")


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
