"""Writing files so that a crash leaves either the old content or the new one, never half of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from manyview.errors import UserError

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and continue with --resume",
    errno.EDQUOT: "the disk quota is used up; free some space and continue with --resume",
    errno.EACCES: "no permission to write there; choose another folder",
    errno.EPERM: "no permission to write there; choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
}


def write_error(path: Path, error: OSError) -> UserError:
    """The user's sentence for a failed write."""
    return UserError(f"cannot write {path}: {_ADVICE.get(error.errno or 0, error.strerror or str(error))}")


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
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise write_error(path, error) from error


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
