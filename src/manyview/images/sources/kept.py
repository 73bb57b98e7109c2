"""Lists of large collections, kept in the user's cache, so that a folder need not be searched again.

A file of this form holds arrays behind a header and is mapped into memory: processes share it, and what is not looked
at takes no memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from manyview.errors import UserError
from manyview.parsing import parse_json

LARGE = 100_000
"""Images from which a list is kept."""

CACHE = "MANYVIEW_CACHE"
"""Environment variable: folder for kept lists; empty to keep none."""

_MAGIC = b"manyview list 1\n"
_ALIGNMENT = 64  # bytes
_MOST_HEADER = 2**26  # bytes


@dataclass(frozen=True, slots=True)
class KeptArrays:
    """Arrays of a kept file.

    Attributes:
        file: where they are.
        about: what else its header says.
        arrays: by name, read-only, mapped into memory.
    """

    file: Path
    about: dict[str, Any]
    arrays: dict[str, np.ndarray]


def kept_file(*of: str, suffix: str = "list") -> Path | None:
    """The file for what these words name; None where nothing is to be kept.

    Args:
        of: all that the contents depend on, but for what may change with time.
        suffix: of the file.
    """
    folder = os.environ.get(CACHE)
    if folder == "":
        return None
    if folder is None:
        try:
            usual = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
        except RuntimeError:  # a user without a home
            return None
        folder = os.path.join(usual, "manyview")  # noqa: PTH118
    key = hashlib.sha256("\0".join(of).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return Path(folder).absolute() / f"{key}.{suffix}"


def keep(file: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Write arrays and what is said about them; returns why it failed, empty if it did not.

    Args:
        file: to create or replace.
        about: plain data.
        arrays: by name.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(file, about, arrays)
    except OSError as error:
        return error.strerror or str(error)
    except UserError as error:
        return str(error)
    return ""


def write_arrays(file: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays and what is said about them atomically.

    Raises:
        UserError: the disk is full or the folder not writable.
    """
    from manyview.runs.files import atomic_write  # which imports PyTorch

    atomic_write(file, lambda temporary: _write(temporary, about, arrays))


def open_kept(file: Path, *, check: bool = True) -> KeptArrays | None:
    """Map a kept file into memory; None where there is none, or it is damaged.

    Args:
        file: as written by ``keep``.
        check: whether to read all of it and compare checksums; not needed in a process that another one has sent it to.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), file.open("rb") as stream:
        return _read(file, stream, check)
    return None


def _write(file: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    layout, end = {}, 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        layout[name] = [array.dtype.str, list(array.shape), end, zlib.crc32(data.data)]
        end += _padded(data.nbytes)
    header = json.dumps({"about": dict(about), "arrays": layout}).encode()
    with file.open("wb") as stream:
        stream.write(_MAGIC + len(header).to_bytes(8, "little") + zlib.crc32(header).to_bytes(8, "little") + header)
        for array in arrays.values():
            stream.write(bytes(-stream.tell() % _ALIGNMENT))
            stream.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _read(file: Path, stream: BinaryIO, check: bool) -> KeptArrays | None:
    magic = stream.read(len(_MAGIC))
    size, checksum = (int.from_bytes(stream.read(8), "little") for _ in range(2))
    header = stream.read(size) if size < _MOST_HEADER else b""
    if magic != _MAGIC or len(header) != size or zlib.crc32(header) != checksum:
        return None
    content = parse_json(header)
    start = _padded(stream.tell())
    mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    arrays = {}
    for name, (dtype, shape, offset, its_checksum) in content["arrays"].items():
        array = np.frombuffer(mapped, dtype, math.prod(shape), start + offset).reshape(shape)
        if check and zlib.crc32(array.reshape(-1).view(np.uint8).data) != its_checksum:
            return None
        arrays[name] = array
    return KeptArrays(file, content["about"], arrays)


def _padded(size: int) -> int:
    return size + -size % _ALIGNMENT
