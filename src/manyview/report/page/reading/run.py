"""A run's folder as plain data; what is missing or damaged is a sentence, not an error."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from manyview.errors import UserError
from manyview.images.skipped import read_skipped
from manyview.parsing import parse_json
from manyview.runs import RunFolder
from manyview.runs.folder import BEST_RECORD, DETECTOR_FILE
from manyview.runs.metrics_log import describe_damage, read_lines
from manyview.runs.record import CHECKPOINTS, CONFIG_FILE, COPY_FILE, RUN_FILE
from manyview.text import printable

HEALTH_FILE = "health.json"
RESULT_FILE = "metrics.json"
_LOCK = ".lock"
_MOST_STEPS = 2**53  # which the browser still counts exactly


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A pre-training run.

    Attributes:
        path: its folder.
        name: that it is called by on the page.
        config: the configuration that ran; {} if it is not known.
        about: what ``run.json`` holds; {} if it is not known.
        log: intact records of ``metrics.jsonl``, in order.
        skipped: images that could not be read, with the reason.
        health: what ``health.json`` holds.
        best: what ``best.json`` holds.
        faults: sentences on files that are missing or damaged.
        written: when the log was last written, in seconds since 1970; None without a log.
        working: whether a process works in the folder; None where that cannot be known.
        read: when the folder was read, in seconds since 1970.
    """

    path: Path
    name: str
    config: Mapping[str, Any]
    about: Mapping[str, Any]
    log: tuple[Mapping[str, Any], ...]
    skipped: Mapping[str, str]
    health: Mapping[str, Any] | None
    best: Mapping[str, Any] | None
    faults: tuple[str, ...]
    written: float | None
    working: bool | None
    read: float

    def records(self, kind: str) -> list[Mapping[str, Any]]:
        """The records of a type."""
        return [record for record in self.log if record.get("kind") == kind]

    def setting(self, key: str, default: Any = None) -> Any:
        """A setting by its dotted key."""
        return lookup(self.config, key, default)

    def plan(self, key: str) -> float | int | None:
        """A number of the plan in ``run.json``, such as "steps"; None if it is not known."""
        value = lookup(self.about, f"plan.{key}")
        return value if is_number(value) and value > 0 else None

    @property
    def steps_done(self) -> int:
        """Optimizer steps up to the last record."""
        return max((record["step"] for record in self.log), default=0)


def lookup(content: Any, key: str, default: Any = None) -> Any:
    """An entry of nested data by its dotted key, whatever the data."""
    for part in key.split("."):
        if not isinstance(content, Mapping) or part not in content:
            return default
        content = content[part]
    return content


def is_number(value: Any) -> TypeGuard[float | int]:
    """Whether a value of a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_run(path: Path, name: str, *, begun: bool = False) -> Run:
    """Read a run's folder.

    Args:
        path: the folder.
        name: that the run is called by.
        begun: also accept a folder whose run has been claimed, but not recorded yet.

    Raises:
        UserError: it is no folder of a pre-training run.
    """
    folder = RunFolder(path)
    _require_run(folder, begun)
    faults: list[str] = []
    config, about = _record(folder, faults, missing_is_fault=not begun)
    records, damaged = read_lines(folder.metrics_file) if folder.metrics_file.is_file() else ([], [])
    if sentence := describe_damage(folder.metrics_file, damaged):
        faults.append(f"{sentence}.")
    if not folder.metrics_file.is_file() and not begun:
        faults.append(f"{folder.metrics_file.name} is missing, so there are no curves.")
    return Run(
        path=path,
        name=name,
        config=config,
        about=about,
        log=tuple(record for record in records if is_number(record["step"]) and 0 <= record["step"] <= _MOST_STEPS),
        skipped=_skipped(folder, faults),
        health=_optional(path / HEALTH_FILE, faults),
        best=_optional(path / BEST_RECORD, faults),
        faults=tuple(faults),
        written=_modified(folder.metrics_file),
        working=folder.is_locked(),
        read=time.time(),
    )


def run_names(paths: list[Path]) -> list[str]:
    """Names of runs: those of their folders, with as much of the path as tells them apart."""
    parts = [path.resolve().parts for path in paths]
    names: list[str] = []
    for own in parts:
        length = 1
        while length < len(own) and sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        names.append(printable("/".join(own[-length:])))
    return names


def _require_run(folder: RunFolder, begun: bool) -> None:
    path = folder.path
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise UserError(f"{path} {what}: name the folder of a run, the --out of manyview pretrain")
    if (path / DETECTOR_FILE).is_file() or (folder.holds_a_run and not _is_pretraining(folder)):
        raise UserError(
            f"{path} is a run of manyview detect: name the pre-training run that it began with, whose report has "
            f"it; --evaluations {path} adds it from anywhere"
        )
    if folder.holds_a_run or (begun and (path / _LOCK).is_file()):
        return
    if (path / RESULT_FILE).is_file():
        raise UserError(
            f"{path} holds an evaluation, not a run: name the run that it measured; --evaluations {path} adds it"
        )
    inside = sorted(each.name for each in path.iterdir() if RunFolder(each).holds_a_run)
    hint = f": it holds the runs {', '.join(inside[:3])}{', ...' if len(inside) > 3 else ''}" if inside else ""
    raise UserError(f"{path} holds no run{hint}; name the --out folder of manyview pretrain")


def _is_pretraining(folder: RunFolder) -> bool:
    """Whether a run's configuration is one of pre-training, or cannot be read."""
    try:
        config = parse_json((folder.path / CONFIG_FILE).read_bytes())
    except (OSError, ValueError):
        return True
    return not isinstance(config, dict) or "architecture" not in config


def _record(
    folder: RunFolder, faults: list[str], missing_is_fault: bool
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The two files of a run's record, or what their copy holds."""
    found: dict[str, Mapping[str, Any]] = {}
    for name in (CONFIG_FILE, RUN_FILE):
        file = folder.path / name
        missing = not file.exists()
        content = None if missing and not missing_is_fault else _json(file)
        if content is None:
            copy = (_json(folder.path / CHECKPOINTS / COPY_FILE) or {}).get(name)
            if missing_is_fault:
                what = "is missing" if missing else "cannot be read"
                instead = (
                    "its copy among the checkpoints is shown" if isinstance(copy, dict) else "what it says is left out"
                )
                faults.append(f"{name} {what}; {instead}.")
            content = copy if isinstance(copy, dict) else {}
        found[name] = content
    return found[CONFIG_FILE], found[RUN_FILE]


def _json(file: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is none, or it cannot be read."""
    try:
        content = parse_json(file.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _optional(file: Path, faults: list[str]) -> Mapping[str, Any] | None:
    content = _json(file)
    if content is None and file.exists():
        faults.append(f"{file.name} cannot be read; what it says is left out.")
    return content


def _skipped(folder: RunFolder, faults: list[str]) -> dict[str, str]:
    try:
        return read_skipped(folder.skipped_file)
    except OSError:
        faults.append(f"{folder.skipped_file.name} cannot be read; skipped images are not listed.")
        return {}


def _modified(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None
