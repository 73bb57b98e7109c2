"""Folder of a pre-training run: lock, JSON files and metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from manyview.errors import UserError
from manyview.runs.checkpoints import CheckpointStore
from manyview.runs.files import atomic_write, remove_leftovers, write_error

WEIGHTS_FILE = "backbone.safetensors"
BEST_FILE, BEST_RECORD = "best.safetensors", "best.json"
"""The best weights of a run by a measure of their quality, and what they measured."""
DETECTOR_FILE = "detector.safetensors"
_held: set[Path] = set()
# A folder with only these belongs to a run that was killed before it began.
_PRELIMINARY = frozenset({".lock", "run.json", "images.stats"})


class RunFolder:
    """Files of one pre-training run.

    Layout: ``config.json`` (what ran), ``run.json`` (what was asked for, command, versions, commit, data),
    ``images.stats`` (times of change of the images), ``metrics.jsonl``, ``skipped.csv``, ``backbone.safetensors``
    (refreshed every epoch), ``checkpoints/``; of a run whose quality is measured, ``best.safetensors`` and
    ``best.json``; and ``initial.safetensors`` where training or its result depends on the initial weights to the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = CheckpointStore(path / "checkpoints")
        self.weights = path / WEIGHTS_FILE
        self.initial = path / "initial.safetensors"
        self.metrics_file = path / "metrics.jsonl"
        self.skipped_file = path / "skipped.csv"
        self._lock: IO[str] | None = None

    def __fspath__(self) -> str:
        """The folder's path, so that a run can be passed wherever weights are expected."""
        return str(self.path)

    @property
    def holds_a_run(self) -> bool:
        """Whether a run was started in this folder."""
        return (self.path / "config.json").is_file()

    def create(self) -> None:
        """Create the folder for a new run, and lock it.

        Raises:
            UserError: it holds a run or other files, or cannot be written.
        """
        try:
            self.check_new()
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock()
            self.check_new()  # another process may have written in the meantime
        except OSError as error:
            raise write_error(self.path, error) from error
        except UserError:
            self.unlock()
            raise

    def check_new(self) -> None:
        """Check that a new run can be started in this folder.

        Raises:
            UserError: it holds a run or other files.
        """
        if self.holds_a_run:
            raise UserError(f"{self.path} already holds a run; continue it with --resume, or choose another folder")
        if self.path.is_file():
            raise UserError(f"{self.path} is a file; choose a new folder for the run")
        names = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        if any(name not in _PRELIMINARY and not _is_temporary(name) for name in names):
            raise UserError(f"{self.path} is not empty; choose a new folder for the run")

    def lock(self) -> None:
        """Lock the folder until this process ends or ``unlock`` is called, and remove leftover temporary files.

        A POSIX record lock belongs to one process: loader workers do not inherit it, and it ends with a killed
        process.

        Raises:
            UserError: another process holds the lock.
        """
        try:
            import fcntl
        except ImportError:  # Windows has no record locks; there the folder is not locked.
            return
        key = self.path.resolve()
        busy = UserError(f"another process is working in {self.path}; wait for it, or choose another folder")
        # Checked before the file is opened: closing it anywhere in this process would release the lock.
        if key in _held:
            raise busy
        try:
            file = (self.path / ".lock").open("a")
        except OSError as error:
            raise write_error(self.path, error) from error
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise busy from error
        _held.add(key)
        self._lock = file
        remove_leftovers(self.path)
        remove_leftovers(self.checkpoints.folder)

    def unlock(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            _held.discard(self.path.resolve())
            self._lock.close()
            self._lock = None

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write one of the folder's JSON files atomically."""
        atomic_write(self.path / name, json.dumps(content, indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one of the folder's JSON files.

        Raises:
            UserError: it is missing or damaged.
        """
        file = self.path / name
        try:
            content = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{file} cannot be read ({error}); this folder does not hold a usable run") from error
        if not isinstance(content, dict):
            raise UserError(f"{file} does not hold a run's data")
        return content

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Append one record to ``metrics.jsonl``."""
        try:
            with self.metrics_file.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise write_error(self.metrics_file, error) from error

    def read_metrics(self) -> list[dict[str, Any]]:
        """The records of ``metrics.jsonl``; a last line truncated by a crash is ignored."""
        if not self.metrics_file.is_file():
            return []
        records = []
        for line in self.metrics_file.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def drop_metrics_after(self, step: int) -> None:
        """Remove the records after a checkpoint, as those steps will be repeated."""
        records = [record for record in self.read_metrics() if record["step"] <= step]
        atomic_write(self.metrics_file, "".join(json.dumps(record) + "\n" for record in records))


def run_at(weights: Path) -> RunFolder | None:
    """The run that a folder holds, or that a file is the last or the best weights of; None for other weights."""
    run = RunFolder(weights if weights.is_dir() else weights.parent)
    return run if run.holds_a_run and weights in (run.path, run.weights, run.path / BEST_FILE) else None


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")
