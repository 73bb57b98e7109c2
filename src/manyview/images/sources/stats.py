"""Sizes and times of change of files, and the fingerprint of a collection."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from manyview.images.sources.counting import Counting
from manyview.images.sources.names import Names

ABSENT = -1  # size of what cannot be found, such as a dangling link, which is listed too
CONTENT_BYTES = 32  # of a content hash

_AT_ONCE = 2**15  # files looked at by a thread before it takes others
_TRIED = 256  # files by which it is found out how fast the file system answers
_SLOW = 50e-6  # seconds a file, above which threads wait for many at a time
_THREADS = 32


@dataclass(frozen=True, slots=True)
class FileStats:
    """Sizes and times of change of a collection's files, by which a change is noticed.

    Attributes:
        sizes: in bytes, or ``ABSENT``.
        changed: in nanoseconds since 1970, 0 where there is no such file.
    """

    sizes: Int64[np.ndarray, " images"]
    changed: Int64[np.ndarray, " images"]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, FileStats)
            and np.array_equal(self.sizes, other.sizes)
            and np.array_equal(self.changed, other.changed)
        )

    __hash__ = None  # type: ignore[assignment]


def read_stats(root: Path, names: Names) -> FileStats:
    """Look at every file of a folder, without opening any: some seconds a million on a local disk.

    Where the file system answers slowly, as over a network, many files are asked for at a time.
    """
    sizes, changed = np.full((2, len(names)), ABSENT, np.int64)
    start = os.fsencode(root) + b"/"

    def look(first: int, part: list[bytes]) -> None:
        for index, name in enumerate(part, start=first):
            try:
                status = os.stat(start + name)  # noqa: PTH116 - of millions of files
            except (OSError, ValueError):
                changed[index] = 0
                continue
            sizes[index], changed[index] = status.st_size, status.st_mtime_ns

    encoded = names.encoded()
    began = time.perf_counter()
    tried = list(islice(encoded, _TRIED))
    look(0, tried)
    with Counting("Looking at sizes and times of images: {count}", len(names)) as counting:
        if time.perf_counter() - began <= _SLOW * len(tried):
            first = len(tried)
            while part := list(islice(encoded, _AT_ONCE)):
                look(first, part)
                first += len(part)
                counting.add(len(part))
        else:
            _in_threads(look, encoded, len(tried), counting)
    return FileStats(sizes, changed)


def _in_threads(look: Callable[[int, list[bytes]], None], encoded: object, first: int, counting: Counting) -> None:
    """Call ``look`` with parts of the names in threads; no more names are cut than are being looked at."""
    with ThreadPoolExecutor(_THREADS) as pool:
        while part := list(islice(encoded, _AT_ONCE)):  # type: ignore[call-overload]
            share = -(-len(part) // _THREADS)
            shares = [(first + begin, part[begin : begin + share]) for begin in range(0, len(part), share)]
            for _, (_, looked_at) in zip(pool.map(lambda each: look(*each), shares), shares, strict=True):
                counting.add(len(looked_at))
            first += len(part)


def fingerprint(names: Names, sizes: Int64[np.ndarray, " images"]) -> str:
    """SHA-256 over names and file sizes, in hexadecimal."""
    digest = hashlib.sha256()
    encoded = names.encoded()
    for start in range(0, len(names), _AT_ONCE):
        part = sizes[start : start + _AT_ONCE].tolist()
        digest.update(b"".join(b"%s\0%d\n" % pair for pair in zip(islice(encoded, len(part)), part, strict=True)))
    return digest.hexdigest()


def hash_contents(
    read: Callable[[int], bytes], indices: Sequence[int], *, threads: int
) -> UInt8[np.ndarray, "indices 32"]:
    """SHA-256 of the bytes of images, each of which is read whole; 0 for what cannot be read.

    Args:
        read: returns the bytes of an image; an OSError or ValueError counts as no bytes at all.
        indices: of the images.
        threads: images read at a time.
    """
    hashes = np.zeros((len(indices), CONTENT_BYTES), np.uint8)

    def content(row: int) -> None:
        try:
            data = read(indices[row])
        except (OSError, ValueError):  # reported when its turn comes
            return
        hashes[row] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, len(indices), _TRIED):  # not all at once: each call that waits takes memory
            list(pool.map(content, range(start, min(start + _TRIED, len(indices)))))
    return hashes
