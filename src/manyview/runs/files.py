"""Writing files so that a crash leaves either the old content or the new one, and results as JSON can hold them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from manyview.errors import UserError

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space, then try again (pre-training continues with --resume)",
    errno.EDQUOT: "the disk quota is used up; free some space, then try again (pre-training continues with --resume)",
    errno.EACCES: "no permission to write there; choose another folder",
    errno.EPERM: "no permission to write there; choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
}
_ALIGNMENT = 8  # safetensors' data begins at a multiple of so many bytes


def write_error(path: Path, error: OSError) -> UserError:
    """The user's sentence for a failed write."""
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
    """Write a file beside ``path``, flush it to the disk, then rename it over ``path``.

    Args:
        path: the file to make or to replace.
        content: its bytes, its text, or a function that writes the file it is given.

    Raises:
        UserError: the disk is full or the place not writable; ``path`` is then as it was.
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


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes were writing in a folder; for whoever alone may write there."""
    for leftover in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically; equal content gives equal bytes.

    The library's own writer puts metadata in random order, and hides why a write failed.

    Args:
        path: the file.
        tensors: by name, contiguous, on the CPU.
        metadata: text by name, for the file's header.

    Raises:
        UserError: the disk is full or the place not writable; ``path`` is then as it was.
    """
    from safetensors.torch import save

    data = memoryview(save(dict(tensors)))
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8:begin]))
    if metadata:
        header = {"__metadata__": dict(sorted(metadata.items())), **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.write(data[begin:])

    atomic_write(path, write)


def plain(value: Any) -> Any:
    """The same, however nested, with None for nan, which JSON does not know: the AP of a class without positives."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable; some file systems cannot, and then nothing is lost but that."""
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
    """Make the folder for a result.

    Args:
        folder: new, or with other files in it.
        names: files that the result consists of.

    Raises:
        UserError: it already holds one of the files, or cannot be made or written.
    """
    for name in names:
        if (folder / name).exists():
            raise UserError(f"{folder} already holds a {name}: choose another folder")
    make_folder(folder)


def claim_files(out: Path, suffixes: tuple[str, ...], *beside: Path) -> None:
    """Make sure that files can be written, and make their folder.

    Args:
        out: the file that the user named.
        suffixes: what its name may end in.
        beside: other files in the same folder.

    Raises:
        UserError: the name ends in something else, one of the files exists, or the folder cannot be made or written.
    """
    if out.suffix.lower() not in suffixes:
        raise UserError(f"{out} must end in {' or '.join(suffixes)}: choose another name for the output")
    for file in (out, *beside):
        if os.path.lexists(file):
            what = "is a folder" if file.is_dir() else "already exists"
            raise UserError(f"{file} {what}: choose another name for the output")
    make_folder(out.parent)


def make_folder(folder: Path) -> None:
    """Make a folder that is to be written in, unless it is there.

    Raises:
        UserError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{folder} is a file: choose a folder for the output") from None
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write into {folder}: choose another folder")
