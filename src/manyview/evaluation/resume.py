"""Intermediate state of an evaluation in its folder, from which it resumes.

Of what is kept, each file proves by checksums that it is intact and of this evaluation; what is not is made again, and
reported. Files of others in the folder are neither read nor deleted.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manyview import distributed
from manyview.errors import UserError, first_few
from manyview.parsing import parse_json
from manyview.runs import CheckpointStore, RunFolder, TrainingCheckpoint, atomic_write, provenance, write_tensors
from manyview.runs.environment import restore_threads
from manyview.runs.files import is_temporary, remove_leftovers
from manyview.runs.provenance import changed_surroundings, refuse_changes
from manyview.runs.record import canonical_sha256
from manyview.runs.sealed import is_sealed, read_sealed

FOLDER = "unfinished"
PROTOCOL_FILE = "protocol.json"
RESULT_FILE = "metrics.json"
STARTED_FILE = "started.json"
_OF = "protocol_sha256"  # entry of the protocol's SHA-256 in what is kept

# Each save flushes to the disk, which a head on cached features would do many times a second.
_SECONDS_BETWEEN = 10.0


@contextlib.contextmanager
def unfinished(out: Path | None, protocol: Mapping[str, Any], resume: bool) -> Iterator[Unfinished]:
    """Begin the evaluation of this protocol in its folder, or resume the one begun there.

    The state survives an error; ``Unfinished.remove`` deletes it when the result is written. While entered, a resumed
    evaluation computes with as many threads as it was begun with, on which its last bits depend.

    Args:
        out: the evaluation's folder; None to keep nothing.
        protocol: all that its figures depend on, as plain data.
        resume: whether to resume.

    Raises:
        UserError: there is an unfinished evaluation but no ``resume``, or none to resume, or it has another protocol,
            or another process works on it, or the folder holds files of others.
    """
    if out is None:
        if resume:
            raise UserError("an evaluation without a folder for its result cannot be resumed: name it with --out")
        yield Unfinished(None, protocol)
        return
    folder, threads = out / FOLDER, torch.get_num_threads()
    run, kept = RunFolder(folder), Unfinished(folder, protocol)
    if distributed.rank() == 0:
        _check_begun(kept, folder, protocol, resume)
        folder.mkdir(parents=True, exist_ok=True)
        run.lock()
        remove_leftovers(out, RESULT_FILE)
        atomic_write(folder / PROTOCOL_FILE, json.dumps(protocol, indent=2) + "\n")
        if not resume:
            started = provenance()
            content = {"provenance": started, "sha256": canonical_sha256(started)}
            atomic_write(folder / STARTED_FILE, json.dumps(content, indent=2) + "\n")
    distributed.wait_for_all()
    try:
        if resume:
            _take_up(kept)
        yield kept
    finally:
        torch.set_num_threads(threads)
        run.unlock()
        if distributed.rank() == 0 and kept.is_empty:
            kept.delete()


class Unfinished:
    """The folder ``unfinished`` within an evaluation's folder, deleted when the evaluation is done.

    Of several processes, only the first writes; all read.

    Args:
        folder: None to keep nothing.
        protocol: of the evaluation; versions of libraries may differ.

    Attributes:
        remarks: sentences on what was damaged and is made again, and on changed surroundings.
    """

    def __init__(self, folder: Path | None, protocol: Mapping[str, Any]) -> None:
        self.folder = folder
        self.remarks: list[str] = []
        self._of = canonical_sha256(_without_versions(protocol))
        self._names: set[str] = set()  # of all that may be kept
        self._saved = time.monotonic()

    @property
    def is_empty(self) -> bool:
        """Whether it holds neither tensors nor checkpoints."""
        return (
            self.folder is None
            or not self.folder.is_dir()
            or not any(entry.is_dir() or entry.suffix == ".safetensors" for entry in self.folder.iterdir())
        )

    def tensors(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors kept under a name, or those that ``make`` returns, which are then kept."""
        if self.folder is None:
            return make()
        self._names.add(name)
        file = self.folder / f"{name}.safetensors"
        if file.is_file():
            try:
                tensors, metadata = read_sealed(file)
                if metadata.get(_OF, self._of) == self._of:  # absent from those of earlier versions
                    return tensors
                self.remarks.append(f"{file} is of another evaluation, and was made again.")
            except UserError:
                self.remarks.append(f"{file} is damaged, and was made again.")
        made = make()
        if distributed.rank() == 0:
            write_tensors(file, made, {_OF: self._of})
        return made

    def save(self, name: str, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Save a checkpoint of a training, unless the last one is recent."""
        if self.folder is None or distributed.rank() or time.monotonic() - self._saved < _SECONDS_BETWEEN:
            return
        content = {**state, _OF: self._of}
        CheckpointStore(self.folder / name).save(TrainingCheckpoint(step, True, content, dict(tensors)))
        self._saved = time.monotonic()

    def load(self, name: str) -> TrainingCheckpoint | None:
        """The last intact checkpoint of a training, or None."""
        if self.folder is None:
            return None
        self._names.add(name)
        checkpoint = None
        try:
            checkpoint, complaints = CheckpointStore(self.folder / name).load_newest()
            self.remarks += [f"{complaint}; the one before it was used." for complaint in complaints]
        except UserError:
            self.remarks.append(f"All checkpoints in {self.folder / name} are damaged; that training began anew.")
        if checkpoint is not None and checkpoint.state.get(_OF, self._of) != self._of:
            self.remarks.append(f"{self.folder / name} is of another evaluation; that training began anew.")
            checkpoint = None
        # Otherwise the first process would go on, and remove files that another is about to read.
        distributed.wait_for_all()
        return checkpoint

    def remove(self) -> None:
        """Delete what was kept; called after the result is written."""
        if self.folder is None:
            return
        distributed.wait_for_all()  # another process may still have to read
        if distributed.rank() == 0:
            self.delete()

    def delete(self) -> None:
        """Delete what this evaluation wrote, and the folder if nothing else is in it."""
        if self.folder is None or not self.folder.is_dir():
            return
        for name in self._names:
            CheckpointStore(self.folder / name).remove()
        # The protocol last: of a process killed before, ``clear_ended`` finds the rest by it.
        for name in (*(f"{name}.safetensors" for name in self._names), STARTED_FILE, ".lock", PROTOCOL_FILE):
            (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others' files are in it
            self.folder.rmdir()


def clear_ended(out: Path) -> None:
    """Delete what an evaluation kept that was killed after its result was written, before it deleted that itself."""
    try:
        kept = parse_json((out / FOLDER / PROTOCOL_FILE).read_bytes())
        ended = parse_json((out / RESULT_FILE).read_bytes())["protocol"] == kept
    except (OSError, ValueError, LookupError, TypeError):
        return
    if ended and distributed.rank() == 0:
        discard(out)


def discard(out: Path) -> None:
    """Delete an unfinished evaluation from its folder; files of others beside it stay."""
    folder = out / FOLDER
    if not (folder / PROTOCOL_FILE).is_file():
        return
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            CheckpointStore(entry).remove()
        elif entry.suffix == ".safetensors" and is_sealed(entry, _OF):
            entry.unlink()
    Unfinished(folder, {}).delete()


def _check_begun(kept: Unfinished, folder: Path, protocol: Mapping[str, Any], resume: bool) -> None:
    """Refuse to overwrite an unfinished evaluation or others' files, and to resume another or a missing evaluation."""
    file = folder / PROTOCOL_FILE
    if not resume and file.is_file():
        raise UserError(
            f"{folder.parent} holds an unfinished evaluation: continue it with --resume, delete {folder}, or choose "
            "another folder"
        )
    if not resume:
        _check_unused(folder)
        return
    if not file.is_file():
        raise UserError(f"{folder.parent} holds no unfinished evaluation: leave out --resume to begin one")
    try:
        begun = parse_json(file.read_text())
        assert isinstance(begun, dict)
    except (OSError, ValueError, AssertionError):
        # What is kept says itself what it is of.
        kept.remarks.append(f"{file} was damaged, and was written again.")
        return
    refuse_changes(_without_versions(begun), _without_versions(protocol), "evaluation", folder.parent)


def _check_unused(folder: Path) -> None:
    """Refuse a folder of that name with files of others, which a new evaluation could mistake for its own."""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise UserError(f"{folder} is a file, where what is unfinished would be kept: choose another folder") from None
    others = [name for name in names if name not in (".lock", STARTED_FILE) and not is_temporary(name)]
    if others:
        raise UserError(
            f"{folder}, where what is unfinished would be kept, holds other files ({first_few(sorted(others))}): "
            "choose another folder"
        )


def _take_up(kept: Unfinished) -> None:
    """Compute with as many threads as at the start, and remark on what else changed since."""
    assert kept.folder is not None
    file = kept.folder / STARTED_FILE
    if not file.is_file():
        return  # of an earlier version: nothing is known
    try:
        content = parse_json(file.read_text())
        started = content["provenance"]
        intact = canonical_sha256(started) == content["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        intact = False
    if not intact:
        kept.remarks.append(
            f"{file} is damaged: with how many threads the evaluation was begun is not known, and the last bits of its "
            "results may differ."
        )
        return
    restore_threads(started)
    if sentence := changed_surroundings(started):
        kept.remarks.append(sentence)


def _without_versions(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """A protocol without the versions of libraries, whose change is reported instead of refused."""
    return {key: value for key, value in protocol.items() if key != "versions"}
