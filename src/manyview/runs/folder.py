"""Folder of a pre-training run: lock, JSON files and metrics."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import IO, Any

from manyview.errors import UserError
from manyview.parsing import parse_json
from manyview.runs.checkpoints import CheckpointStore
from manyview.runs.files import atomic_write, is_temporary, remove_leftovers, write_error
from manyview.runs.metrics_log import describe_damage, read_lines, to_line
from manyview.runs.record import CHECKPOINTS, CONFIG_FILE, COPY_FILE, RUN_FILE, RunRecord, read_record
from manyview.runs.result import table
from manyview.runs.shown import facts
from manyview.text import printable

WEIGHTS_FILE = "backbone.safetensors"
BEST_FILE, BEST_RECORD = "best.safetensors", "best.json"
"""The best weights of a run by a measure of their quality, and what they measured."""
DETECTOR_FILE = "detector.safetensors"
LOGGERS_FILE = "loggers.json"
"""Ids of a run's counterparts at loggers such as MLflow, by which a resumed run goes on with them."""
_held: set[Path] = set()
# Of the system's record of a lock, struct flock: its format, the position of the lock's type, and the fields of a lock
# of this type on the whole file.
_LOCK_LAYOUTS: dict[str, tuple[str, int, Callable[[int], tuple[int, ...]]]] = {
    "linux": ("hhqqi4x", 0, lambda kind: (kind, 0, 0, 0, 0)),
    "darwin": ("qqihh", 3, lambda kind: (0, 0, 0, kind, 0)),
}
# A folder with only these belongs to a run that was killed before it began.
_PRELIMINARY = frozenset({".lock", RUN_FILE, "images.stats"})


class RunFolder:
    """Files of one pre-training run.

    Layout: ``config.json`` (what ran), ``run.json`` (what was asked for, command, versions, commit, data),
    ``images.stats`` (times of change of the images), ``metrics.jsonl``, ``skipped.csv``, ``backbone.safetensors``
    (refreshed every epoch), ``checkpoints/``; of a run whose quality is measured, ``best.safetensors`` and
    ``best.json``; and ``initial.safetensors`` where training or its result depends on the initial weights to the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = CheckpointStore(path / CHECKPOINTS)
        self.weights = path / WEIGHTS_FILE
        self.initial = path / "initial.safetensors"
        self.metrics_file = path / "metrics.jsonl"
        self.skipped_file = path / "skipped.csv"
        self._lock: IO[str] | None = None

    def __fspath__(self) -> str:
        """The folder's path, so that a run can be passed wherever weights are expected."""
        return str(self.path)

    def __repr__(self) -> str:
        known = facts(self.path, self.weights)
        words = [known[name] for name in ("recipe", "backbone") if name in known]
        words += [f"step {known['step']}"] if "step" in known else []
        return f"<run {str(self.path)!r}{': ' if words else ''}{printable(', '.join(words))}>"

    def _repr_html_(self) -> str:
        """A small table for notebooks; names are escaped."""
        return table(f"Run {self.path}", ("", ""), list(facts(self.path, self.weights).items()))

    @property
    def holds_a_run(self) -> bool:
        """Whether a run was started in this folder."""
        return any((self.path / name).is_file() for name in (CONFIG_FILE, f"{CHECKPOINTS}/{COPY_FILE}"))

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
        if any(name not in _PRELIMINARY and not is_temporary(name) for name in names):
            raise UserError(f"{self.path} is not empty; choose a new folder for the run")

    def discard(self) -> None:
        """Remove what a run has written that came to no step, so that another can start in its folder."""
        if any(self.checkpoints.folder.glob("step-*")):
            return
        for name in (
            CONFIG_FILE,
            RUN_FILE,
            "images.stats",
            self.metrics_file.name,
            self.skipped_file.name,
            self.initial.name,
            LOGGERS_FILE,
        ):
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.path / "tensorboard", self.path / "wandb", self.checkpoints.folder):
            shutil.rmtree(folder, ignore_errors=True)

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

    def is_locked(self) -> bool | None:
        """Whether a process works in the folder, this one or another; None where that cannot be known.

        The lock is only asked for, not taken, so that a process that begins meanwhile is not disturbed.
        """
        if self.path.resolve() in _held:
            return True
        layout = _LOCK_LAYOUTS.get(sys.platform)
        if layout is None:
            return None
        import fcntl

        form, position, fields = layout
        try:
            with (self.path / ".lock").open("rb") as file:
                asked = struct.pack(form, *fields(fcntl.F_RDLCK))
                kind: int = struct.unpack(form, fcntl.fcntl(file, fcntl.F_GETLK, asked))[position]
        except FileNotFoundError:
            return False
        except OSError:
            return None
        return kind != fcntl.F_UNLCK

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
            content = parse_json(file.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{file} cannot be read ({error}); this folder does not hold a usable run") from error
        if not isinstance(content, dict):
            raise UserError(f"{file} does not hold a run's data")
        return content

    def settled(self, key: str, accept: Callable[[Any], bool]) -> Any:
        """A setting that was settled when the run was started, with which it is resumed.

        Args:
            key: dotted name of the setting, such as "training.steps".
            accept: whether a value can be one of it.

        Raises:
            UserError: ``config.json`` cannot be read, or lacks it.
        """
        value: Any = self.read_json(CONFIG_FILE)
        for name in key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if not accept(value):
            raise UserError(
                f"{self.path / CONFIG_FILE} lacks {key}, without which the run cannot be resumed; start a new one"
            )
        return value

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Append one record to ``metrics.jsonl``."""
        try:
            with self.metrics_file.open("a") as file:
                file.write(to_line(record))
        except OSError as error:
            raise write_error(self.metrics_file, error) from error

    def read_metrics(self) -> list[dict[str, Any]]:
        """The intact records of ``metrics.jsonl``; damaged lines and a last one truncated by a crash are left out."""
        return read_lines(self.metrics_file)[0]

    def drop_metrics_after(self, step: int) -> str:
        """Remove the records after a checkpoint, as those steps will be repeated, and damaged lines.

        Returns:
            A sentence on the damaged lines; "" if there were none.
        """
        records, damaged = read_lines(self.metrics_file)
        kept = (to_line(record) for record in records if record["step"] <= step)
        atomic_write(self.metrics_file, "".join(kept))
        return describe_damage(self.metrics_file, damaged)

    def write_record(self, record: RunRecord, before: RunRecord | None = None) -> None:
        """Write ``run.json``, then ``config.json``, which marks the folder as a run, and their copy.

        Args:
            record: what the files are to hold.
            before: what they hold, for a new leg: its copy is written first, so that whoever reads files of which only
                some have been replaced knows both.
        """
        if before is not None:
            self._write_copy(record, before)
        self.write_json(RUN_FILE, record.run)
        self.write_json(CONFIG_FILE, record.config)
        if before is None:
            self._write_copy(record)

    def read_record(self, free: Collection[str] = ()) -> RunRecord:
        """The record of the run, which decides how it is resumed (``runs.record``).

        Args:
            free: settings by dotted name that may change when a run is resumed.

        Raises:
            UserError: its files were changed since the run was started, or cannot be read and there is no copy.
        """
        return read_record(self.path, self.checkpoints.descriptions(), free)[0]

    def mend_record(self, free: Collection[str] = ()) -> list[str]:
        """Write files of the record again that are missing or cannot be read; for the process that holds the lock.

        Returns:
            A clause for each of ``run.json`` and ``config.json``.
        """
        record, faults = read_record(self.path, self.checkpoints.descriptions(), free)
        if faults:
            self.write_json(RUN_FILE, record.run)
            self.write_json(CONFIG_FILE, record.config)
        self._write_copy(record)
        return [f"{fault}; written again as it was when the run was started" for fault in faults]

    def _write_copy(self, record: RunRecord, before: RunRecord | None = None) -> None:
        try:
            self.checkpoints.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise write_error(self.checkpoints.folder, error) from error
        self.write_json(f"{CHECKPOINTS}/{COPY_FILE}", record.copy(before))


def run_at(weights: Path) -> RunFolder | None:
    """The run that a folder holds, or that a file is the last or the best weights of; None for other weights."""
    run = RunFolder(weights if weights.is_dir() else weights.parent)
    return run if run.holds_a_run and weights in (run.path, run.weights, run.path / BEST_FILE) else None
