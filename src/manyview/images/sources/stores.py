"""Files read at random: local ones, and those that fsspec reaches by an address such as s3://bucket/file."""

from __future__ import annotations

import glob
import os
import re
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from manyview.errors import UserError

_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)::?/+")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_BUFFER = 2**22  # bytes read ahead of a remote file that is read from its start
# What file systems call the time of the last change, or what else differs between two versions of a file.
_VERSIONS = ("mtime", "LastModified", "last_modified", "updated", "modified", "ETag", "etag", "created")


@dataclass(frozen=True, slots=True)
class Shard:
    """A file that holds images.

    Attributes:
        where: path or address.
        size: in bytes; -1 if it is missing.
        changed: time of its last change in nanoseconds since 1970, or another number that differs when it changes.
    """

    where: str
    size: int
    changed: int

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.where.rpartition("/")[2]


class RandomFile(ABC):
    """An open file of which any part can be read, from several threads at once."""

    @abstractmethod
    def read(self, start: int, length: int) -> bytes:
        """Bytes of the file; fewer at its end.

        Raises:
            OSError: they cannot be read.
        """

    @abstractmethod
    def stream(self) -> Any:
        """The file as a binary stream of its own."""


class LocalFile(RandomFile):
    """A file of this machine's file systems, closed once nothing refers to it any more."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._descriptor = os.open(where, os.O_RDONLY)
        # By its last reference: another thread may still read from a shard that this process keeps open no longer.
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, start: int, length: int) -> bytes:
        """Bytes of the file, whose position does not move."""
        return os.pread(self._descriptor, length, start)

    def stream(self) -> Any:
        """The file as a binary stream of its own."""
        return open(self._where, "rb")  # noqa: PTH123


class RemoteFile(RandomFile):
    """A file behind an address; connections belong to this process."""

    def __init__(self, where: str) -> None:
        self._system, self._path = file_system(where)

    def read(self, start: int, length: int) -> bytes:
        """Bytes of the file, in one request."""
        try:
            data: bytes = self._system.cat_file(self._path, start=start, end=start + length)
        except OSError:
            raise
        except Exception as error:  # each file system has its own
            raise OSError(f"{type(error).__name__}: {error}") from error
        return data

    def stream(self) -> Any:
        """The file as a stream that reads ahead."""
        return self._system.open(self._path, "rb", block_size=_BUFFER)


def open_file(where: str) -> RandomFile:
    """Open a file for reading at random.

    Raises:
        OSError: it cannot be opened.
    """
    return RemoteFile(where) if is_address(where) else LocalFile(where)


def is_address(where: str) -> bool:
    """Whether this is an address such as s3://bucket/file, not a path."""
    return "://" in where


def normal(where: str | os.PathLike[str]) -> str:
    """An address as it was before pathlib took two slashes for one; a path, or a file: address, as a path."""
    text = os.fspath(where)
    match = _ADDRESS.match(text)
    if match is None or os.path.lexists(text):
        return text
    scheme, rest = match[1].lower(), text[match.end() :]
    return f"/{rest}" if scheme == "file" else f"{scheme}://{rest}"


def file_system(where: str) -> tuple[Any, str]:
    """The file system of an address, with connections of its own, and the path in it.

    Raises:
        UserError: fsspec, or what it needs for such addresses, is not installed.
    """
    scheme = where.partition("://")[0]
    try:
        import fsspec
    except ImportError:
        raise UserError(f"{where} needs fsspec: pip install 'manyview[remote]', or copy the files here") from None
    try:
        # Instances are shared within a process, and those of the parent process must not be used here.
        system, path = fsspec.url_to_fs(where, skip_instance_cache=scheme != "memory")
    except ImportError as error:
        raise UserError(f"{where} needs another package: {error}") from None
    except ValueError as error:
        raise UserError(f"{where} is no address that can be read: {error}") from None
    return system, path


def find_shards(where: str) -> list[Shard]:
    """Files by a path or address, in which braces and wildcards stand for several.

    Braces count or choose ({000..099}, {train,val}); each file that they spell is expected to be there. Wildcards
    (*, ?, [...], **) stand for those that are. A file of this very name is that file.

    Raises:
        UserError: the store cannot be reached.
    """
    found: dict[str, Shard] = {}
    for each in [where] if os.path.lexists(where) else expand(where):
        for shard in _find_remote(each) if is_address(each) else _find_local(each):
            found.setdefault(shard.where, shard)
    return list(found.values())


def expand(text: str) -> Iterator[str]:
    """All texts that braces stand for: {00..12} counts, with as many digits, and {a,b} chooses."""
    match = _BRACES.search(text)
    if match is None:
        yield text
        return
    counted = _RANGE.fullmatch(match[1])
    if counted:
        first, last = counted[1], counted[2]
        choices = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    else:
        choices = match[1].split(",")
    for choice in choices:
        yield from expand(text[: match.start()] + choice + text[match.end() :])


def _find_local(where: str) -> Iterator[Shard]:
    pattern = glob.has_magic(where) and not os.path.lexists(where)
    paths = sorted(glob.glob(where, recursive=True), key=os.fsencode) if pattern else [where]  # noqa: PTH207
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            yield Shard(path, -1, 0)
        else:
            yield Shard(path, status.st_size, status.st_mtime_ns)


def _find_remote(where: str) -> Iterator[Shard]:
    system, path = file_system(where)
    scheme = where.partition("://")[0]
    try:
        if glob.has_magic(path):
            entries = system.glob(path, detail=True)
        else:
            try:
                entries = {path: system.info(path)}
            except FileNotFoundError:
                yield Shard(where, -1, 0)
                return
    except UserError:
        raise
    except Exception as error:  # each file system has its own
        raise UserError(f"cannot reach {where}: {type(error).__name__}: {error}") from error
    for name in sorted(entries):
        address = name if is_address(name) else f"{scheme}://{name.lstrip('/') if scheme == 'memory' else name}"
        yield Shard(address, int(entries[name].get("size") or 0), _version(entries[name]))


def list_remote(where: str) -> list[str]:
    """Addresses of the files in a remote folder; none if it is no folder.

    Raises:
        UserError: the store cannot be reached.
    """
    return [shard.where for shard in _find_remote(f"{where.rstrip('/')}/*")]


def _version(entry: dict[str, Any]) -> int:
    """A number that differs when a file changes: its time, or a part of a hash."""
    value = next((entry[key] for key in _VERSIONS if entry.get(key) is not None), 0)
    if isinstance(value, datetime):
        return int(value.timestamp() * 1e6) * 1000
    if isinstance(value, int | float):
        return int(value * 1e9)
    return int.from_bytes(sha256(str(value).encode()).digest()[:7], "big")


def absolute(where: str) -> str:
    """A path from the root on; an address as it is."""
    return where if is_address(where) else str(Path(where).absolute())
