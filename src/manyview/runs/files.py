"""Atomic writing of files, checks that outputs can be written, and conversion of results to valid JSON."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyview.errors import UserError
from manyview.runs.sealed import compact, seal

if TYPE_CHECKING:
    from torch import Tensor

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space, then try again (pre-training continues with --resume)",
    errno.EDQUOT: "the disk quota is used up; free some space, then try again (pre-training continues with --resume)",
    errno.EACCES: "no permission to write there; choose another folder",
    errno.EPERM: "no permission to write there; choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
}
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")  # a name with the process that writes it
_ALIGNMENT = 8  # bytes; safetensors' data begins at a multiple of it


def write_error(path: Path, error: OSError) -> UserError:
    """UserError for a failed write, with advice."""
    return UserError(f"cannot write {path}: {_ADVICE.get(error.errno or 0, error.strerror or str(error))}")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def atomic_write(path: Path, content: bytes | str | Callable[[Path], None]) -> None:
    """Write a temporary file beside ``path``, flush it to disk, then rename it to ``path``.

    A crash leaves either the old content or the new.

    Args:
        path: the file to create or replace.
        content: bytes, text, or a function that writes to the path that it is given.

    Raises:
        UserError: the disk is full or the folder not writable; ``path`` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise write_error(path, error) from error


def is_temporary(name: str) -> bool:
    """Whether a file's name is that of a write that was not finished."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Remove temporary files of killed processes; only for the process that holds the folder's lock.

    Args:
        folder: in which they are.
        name: of the file that was to be written; "*" for any.
    """
    for leftover in folder.glob(f".{name}.*.tmp"):
        if is_temporary(leftover.name):
            with contextlib.suppress(OSError):
                leftover.unlink()


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, *, sealed: bool = True
) -> None:
    """Write a safetensors file atomically; equal content gives equal bytes.

    The library's own writer orders metadata randomly and hides why a write failed.

    Args:
        path: output file.
        tensors: by name, contiguous, on the CPU.
        metadata: text by name, for the header.
        sealed: whether the header gets the checksum that ``runs.sealed`` compares.

    Raises:
        UserError: the disk is full or the folder not writable; ``path`` is unchanged.
    """
    from safetensors.torch import save

    data = memoryview(save(dict(tensors)))
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8:begin]))
    if metadata:
        header = {"__metadata__": dict(sorted(metadata.items())), **header}
    text = compact(seal(header, data[begin:]) if sealed else header)
    text += b" " * (-len(text) % _ALIGNMENT)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.write(data[begin:])

    atomic_write(path, write)


def plain(value: Any) -> Any:
    """Replace NaN by None in nested data, as JSON has no NaN, for example for the AP of a class without positives."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _flush_folder(folder: Path) -> None:
    """Make the rename durable, on file systems that support it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def claim_folder(folder: Path, *names: str) -> None:
    """Create the folder of a result, before any work is done.

    Args:
        folder: new, or with other files in it.
        names: files that the result consists of.

    Raises:
        UserError: it already holds one of the files, or cannot be created or written.
    """
    for name in names:
        if (folder / name).exists():
            raise UserError(f"{folder} already holds a {name}: choose another folder")
    make_folder(folder)


def claim_files(out: Path, suffixes: tuple[str, ...], *beside: Path) -> None:
    """Check that output files do not exist yet, and create their folder, before any work is done.

    Args:
        out: output file named by the user.
        suffixes: allowed file name extensions.
        beside: other output files in the same folder.

    Raises:
        UserError: another extension, one of the files exists, or the folder cannot be created or written.
    """
    if out.suffix.lower() not in suffixes:
        raise UserError(f"{out} must end in {' or '.join(suffixes)}: choose another name for the output")
    for file in (out, *beside):
        if os.path.lexists(file):
            what = "is a folder" if file.is_dir() else "already exists"
            raise UserError(f"{file} {what}: choose another name for the output")
    make_folder(out.parent)


def make_folder(folder: Path) -> None:
    """Create an output folder unless it exists.

    Raises:
        UserError: it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{folder} is a file: choose a folder for the output") from None
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write into {folder}: choose another folder")
