"""The record of a run, which decides how it is resumed; its copy beside the checkpoints, its SHA-256 in each of them.

``run.json`` (what was asked for, plan, data, method, hardware) and ``config.json`` (what ran) are written once, when a
run starts; together they are its record. Users and other commands read the files. But the one truth is what they
held at the start: every checkpoint has the SHA-256 of the canonical JSON of all that decides (``RunRecord.deciding``),
and ``checkpoints/record.json`` is a copy of both with the same SHA-256. A file that says something else is refused when
the run is resumed, instead of deciding it; one that is lost or cannot be read is written again from the copy. In runs
of earlier versions, which have neither, what was asked for is compared with what ran.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.errors import UserError, first_few
from manyview.parsing import parse_json
from manyview.runs.provenance import by_dotted_key, differences

RUN_FILE, CONFIG_FILE = "run.json", "config.json"
CHECKPOINTS = "checkpoints"
COPY_FILE = "record.json"
"""The copy, in the folder of the checkpoints."""
RECORD_SUM = "record_sha256"
"""Entry of the record's SHA-256 in the state of a checkpoint."""

_BEFORE = "before"
# Members of run.json that decide; the others tell when and by what a run was started.
_DECIDING = ("asked", "plan", "data", "init", "quality", "method", "device", "precision", "processes")


@dataclass(frozen=True)
class RunRecord:
    """The record of a run.

    Attributes:
        run: content of ``run.json``.
        config: content of ``config.json``.
        free: settings by dotted name that may change when a run is resumed, as nothing depends on them.
    """

    run: Mapping[str, Any]
    config: Mapping[str, Any]
    free: Collection[str] = ()

    @property
    def deciding(self) -> dict[str, Any]:
        """All that decides, nested by name: the settings of ``config``, and members of ``run``."""
        threads = self.run.get("environment", {}).get("threads")
        members = {key: self.run[key] for key in _DECIDING if key in self.run}
        if isinstance(members.get("asked"), Mapping):
            members["asked"] = _without(members["asked"], self.free)
        return {"config": _without(self.config, self.free), **members, "threads": threads}

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical JSON of what decides, in hexadecimal."""
        return canonical_sha256(self.deciding)

    def copy(self, before: RunRecord | None = None) -> dict[str, Any]:
        """Plain data for the copy beside the checkpoints.

        Args:
            before: the record of the leg before.
        """
        files = {} if before is None else {_BEFORE: before.files()}
        return {"sha256": self.sha256, RUN_FILE: dict(self.run), CONFIG_FILE: dict(self.config), **files}

    def files(self) -> dict[str, str]:
        """SHA-256 of the content of each file, by name."""
        return {RUN_FILE: canonical_sha256(self.run), CONFIG_FILE: canonical_sha256(self.config)}


def canonical_sha256(content: Any) -> str:
    """SHA-256 of plain data as JSON with sorted keys and without spaces, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_record(folder: Path, checkpoints: Sequence[Path], free: Collection[str] = ()) -> tuple[RunRecord, list[str]]:
    """The record of a run that is to be resumed.

    Args:
        folder: of the run.
        checkpoints: the JSON files of its checkpoints.
        free: as in ``RunRecord``.

    Returns:
        The record, and what is wrong with its files, a clause for each that cannot be read.

    Raises:
        UserError: the files were changed since the run was started, or cannot be read and there is no copy.
    """
    kept = _read_copy(folder / CHECKPOINTS / COPY_FILE, free)
    found: dict[str, Mapping[str, Any]] = {}
    faults: list[str] = []
    for name in (RUN_FILE, CONFIG_FILE):
        try:
            found[name] = _read(folder / name)
        except UserError as error:
            if kept is None:
                raise UserError(f"{error}, and there is no copy: start a new run in another folder") from error
            faults.append(str(error))
    if kept is not None:
        found = {RUN_FILE: kept.run, CONFIG_FILE: kept.config, **found}
    record = RunRecord(found[RUN_FILE], found[CONFIG_FILE], free)
    sums = {*_sums(checkpoints), *([kept.sha256] if kept else [])}
    if not sums:
        _compare_with_asked(folder, record)
    elif record.sha256 not in sums:
        if kept is None or not _is_half_written(folder / CHECKPOINTS / COPY_FILE, kept, record):
            raise UserError(_changed(folder, record, kept))
        record = kept
        faults.append("the record of a new leg was written in part")
    return record, faults


def _changed(folder: Path, record: RunRecord, kept: RunRecord | None) -> str:
    """A message on files that are not as they were at the start; without the copy, what changed is not known."""
    if kept is None:
        return (
            f"{RUN_FILE} or {CONFIG_FILE} in {folder} changed since the run was started, as the SHA-256 in its "
            "checkpoints shows; undo that, or start a new run in another folder"
        )
    changed = differences(kept.deciding, record.deciding)
    return (
        f"{_files(changed)} in {folder} changed since the run was started: {first_few(changed, '; ')}; undo that, or "
        "delete the file, which --resume writes again as it was, or start a new run in another folder"
    )


def _files(changed: Collection[str]) -> str:
    """Which files changed entries are from."""
    of_config = [each.startswith("config.") for each in changed]
    return CONFIG_FILE if all(of_config) else f"{RUN_FILE} and {CONFIG_FILE}" if any(of_config) else RUN_FILE


def _read_copy(file: Path, free: Collection[str]) -> RunRecord | None:
    """The copy, if it is intact, which its SHA-256 proves."""
    try:
        copy = parse_json(file.read_bytes())
        record = RunRecord(copy[RUN_FILE], copy[CONFIG_FILE], free)
        return record if record.sha256 == copy["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_half_written(copy: Path, kept: RunRecord, found: RunRecord) -> bool:
    """Whether each file is as before or as after a new leg was recorded, which ended in between."""
    before = json.loads(copy.read_bytes()).get(_BEFORE)
    now, after = found.files(), kept.files()
    return isinstance(before, dict) and all(now[name] in (before.get(name), after[name]) for name in now)


def _sums(checkpoints: Sequence[Path]) -> set[str]:
    """The record's SHA-256 in each checkpoint that has one; a damaged checkpoint's is another, and matches nothing."""
    found = set()
    for file in checkpoints:
        try:
            found.add(str(parse_json(file.read_bytes())["state"][RECORD_SUM]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def _compare_with_asked(folder: Path, record: RunRecord) -> None:
    """Refuse a run whose two files contradict each other: settings that were asked for are those that ran.

    Only values that were left open, and the size of a batch, are settled when a run starts.
    """
    asked, ran = (dict(by_dotted_key(content)) for content in (record.run.get("asked") or {}, record.config))
    settled = ("training.batch_size", "training.accumulate", "training.steps", "training.hours", "method.classes")
    contradictions = [
        f"{key} is {json.dumps(value)} in {RUN_FILE}, but {json.dumps(ran[key])} in {CONFIG_FILE}"
        for key, value in asked.items()
        if key in ran and ran[key] != value and value not in (None, "auto") and key not in settled
    ]
    if contradictions:
        raise UserError(
            f"the files of the run in {folder} contradict each other, as one was changed since it was started: "
            f"{first_few(contradictions)}; undo that, or start a new run in another folder"
        )


def _read(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(file.read_text())
    except FileNotFoundError:
        raise UserError(f"{file} is missing") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} does not hold a run's data")
    return content


def _without(content: Mapping[str, Any], names: Collection[str], prefix: str = "") -> dict[str, Any]:
    """Nested entries without those of some dotted names."""
    return {
        key: _without(value, names, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in content.items()
        if f"{prefix}{key}" not in names
    }
