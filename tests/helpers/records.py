"""Runs whose record says something else, as if they had been started so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from manyview.config.resuming import MAY_CHANGE
from manyview.runs import RunFolder
from manyview.runs.record import RunRecord


def started_otherwise(out: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Write a run's record again after a change of the contents of ``run.json`` and ``config.json``."""
    folder = RunFolder(out)
    record = folder.read_record(MAY_CHANGE)
    run, config = copy.deepcopy(dict(record.run)), copy.deepcopy(dict(record.config))
    change(run, config)
    folder.write_record(RunRecord(run, config, MAY_CHANGE))
