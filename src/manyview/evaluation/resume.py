"""Intermediate state of an evaluation in its folder, from which it resumes."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from manyview import distributed
from manyview.errors import UserError
from manyview.parsing import parse_json
from manyview.runs import CheckpointStore, RunFolder, TrainingCheckpoint, atomic_write, write_tensors
from manyview.runs.provenance import refuse_changes

FOLDER = "unfinished"
PROTOCOL_FILE = "protocol.json"

# Each save flushes to the disk, which a head on cached features would do many times a second.
_SECONDS_BETWEEN = 10.0


@contextlib.contextmanager
def unfinished(out: Path | None, protocol: Mapping[str, Any], resume: bool) -> Iterator[Unfinished]:
    """Begin the evaluation of this protocol in its folder, or resume the one begun there.

    The state survives an error; ``Unfinished.remove`` deletes it when the result is written.

    Args:
        out: the evaluation's folder; None to keep nothing.
        protocol: all that its figures depend on, as plain data.
        resume: whether to resume.

    Raises:
        UserError: there is an unfinished evaluation but no ``resume``, or none to resume, or it has another protocol,
            or another process works on it.
    """
    if out is None:
        if resume:
            raise UserError("an evaluation without a folder for its result cannot be resumed: name it with --out")
        yield Unfinished(None)
        return
    folder = out / FOLDER
    run = RunFolder(folder)
    if distributed.rank() == 0:
        _check_begun(folder, protocol, resume)
        folder.mkdir(parents=True, exist_ok=True)
        run.lock()
        if not resume:
            atomic_write(folder / PROTOCOL_FILE, json.dumps(protocol, indent=2) + "\n")
    distributed.wait_for_all()
    kept = Unfinished(folder)
    try:
        yield kept
    finally:
        run.unlock()
        if distributed.rank() == 0 and folder.is_dir() and kept.is_empty:
            shutil.rmtree(folder)


class Unfinished:
    """The folder ``unfinished`` within an evaluation's folder, deleted when the evaluation is done.

    Of several processes, only the first writes; all read.

    Args:
        folder: None to keep nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._saved = time.monotonic()

    @property
    def is_empty(self) -> bool:
        """Whether it holds neither tensors nor checkpoints."""
        return self.folder is None or not any(
            entry.is_dir() or entry.suffix == ".safetensors" for entry in self.folder.iterdir()
        )

    def tensors(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors kept under a name, or those that ``make`` returns, which are then kept."""
        if self.folder is None:
            return make()
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        file = self.folder / f"{name}.safetensors"
        if file.is_file():
            try:
                return load_file(file)
            except (OSError, SafetensorError) as error:
                raise UserError(f"{file} is damaged ({error}): delete it, and it is made again") from error
        made = make()
        if distributed.rank() == 0:
            write_tensors(file, made)
        return made

    def save(self, name: str, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Save a checkpoint of a training, unless the last one is recent."""
        if self.folder is None or distributed.rank() or time.monotonic() - self._saved < _SECONDS_BETWEEN:
            return
        CheckpointStore(self.folder / name).save(TrainingCheckpoint(step, True, dict(state), dict(tensors)))
        self._saved = time.monotonic()

    def load(self, name: str) -> TrainingCheckpoint | None:
        """The last checkpoint of a training, or None."""
        if self.folder is None:
            return None
        checkpoint, _ = CheckpointStore(self.folder / name).load_newest()
        # Otherwise the first process would go on, and remove files that another is about to read.
        distributed.wait_for_all()
        return checkpoint

    def remove(self) -> None:
        """Delete the folder; called after the result is written."""
        if self.folder is None:
            return
        distributed.wait_for_all()  # another process may still have to read
        if distributed.rank() == 0:
            shutil.rmtree(self.folder)


def _check_begun(folder: Path, protocol: Mapping[str, Any], resume: bool) -> None:
    """Refuse to overwrite an unfinished evaluation, and to resume one that is missing or has another protocol."""
    file = folder / PROTOCOL_FILE
    if not resume and file.is_file():
        raise UserError(
            f"{folder.parent} holds an unfinished evaluation: continue it with --resume, delete {folder}, or choose "
            "another folder"
        )
    if not resume:
        return
    if not file.is_file():
        raise UserError(f"{folder.parent} holds no unfinished evaluation: leave out --resume to begin one")
    try:
        begun = parse_json(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}): delete {folder} and begin anew") from error
    refuse_changes(begun, protocol, "evaluation", folder.parent)
