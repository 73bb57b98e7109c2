"""Features as NPZ, which ``numpy.load`` reads without pickle."""

from __future__ import annotations

import contextlib
import io
import json
import math
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from manyview.errors import UserError
from manyview.evaluation.embed.files import CHUNK_BYTES, FeaturesFile, Rows, Writer, read_record

Member = IO[bytes] | io.BufferedIOBase
"""An open member of an archive."""
RECORD = "record"
_AXES = {"images": 1, "sizes": 2, "features": 2, "patches": 4}  # of the arrays
_LARGE, _MOST_RATIO = 2**28, 16  # bytes of an archive once unpacked: so many, and so many times its own
_COPIED_AT_ONCE = 2**20


class NpzRows(Writer):
    """Writes ``images``, ``sizes``, ``features``, ``patches`` if rows have them, and ``record``, which is JSON.

    An array begins with its shape, but the number of readable images is known only at the end. So the arrays are
    collected in unnamed temporary files on the same disk, which the system always removes, and then copied into the
    archive.

    Args:
        stream: destination, which stays open.
        folder: of the temporary files.
        longest_name: characters of the longest name.
    """

    def __init__(self, stream: IO[bytes], folder: Path, longest_name: int) -> None:
        self._stream, self._folder = stream, folder
        self._names = np.dtype(f"<U{max(1, longest_name)}")
        self._parts: dict[str, _Part] = {}

    def write(self, rows: Rows) -> None:
        """Add rows."""
        columns = {
            "images": np.array(rows.images, dtype=self._names),
            "sizes": rows.sizes.astype(np.int32),
            "features": rows.features,
            "patches": rows.patches,
        }
        for name, values in columns.items():
            if values is not None:
                if name not in self._parts:
                    self._parts[name] = _Part(self._folder, values)
                self._parts[name].add(values)

    def finish(self, record: Mapping[str, Any]) -> None:
        """Assemble the archive."""
        with zipfile.ZipFile(self._stream, "w") as archive:
            for name, part in self._parts.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    part.copy_to(member)
                part.close()  # frees its space on the disk
            with archive.open(f"{RECORD}.npy", "w") as member:
                npy.write_array(member, np.array(json.dumps(record, allow_nan=False)), allow_pickle=False)

    def close(self) -> None:
        """Remove the temporary files."""
        for part in self._parts.values():
            part.close()


class _Part:
    """An array on the disk that grows along its first axis."""

    def __init__(self, folder: Path, like: np.ndarray) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it outlives this call
        self._dtype, self._shape, self._count = like.dtype, like.shape[1:], 0

    def add(self, values: np.ndarray) -> None:
        assert (values.dtype, values.shape[1:]) == (self._dtype, self._shape)
        self._file.write(np.ascontiguousarray(values).data.cast("B") if values.dtype.kind != "U" else values.tobytes())
        self._count += len(values)

    def copy_to(self, member: Member) -> None:
        shape = (self._count, *self._shape)
        header = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(member, header)
        self._file.seek(0)
        shutil.copyfileobj(self._file, member, _COPIED_AT_ONCE)

    def close(self) -> None:
        self._file.close()


class NpzFeatures(FeaturesFile):
    """An NPZ file that ``NpzRows`` wrote.

    Raises:
        UserError: it is damaged, or written by another program.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._readable(), zipfile.ZipFile(path) as archive:
            if f"{RECORD}.npy" not in archive.namelist():
                raise UserError(f"{path} is an NPZ file, but not one that manyview embed wrote")
            _check_sizes(archive, path)
            with archive.open(f"{RECORD}.npy") as member:
                self.record = read_record(str(npy.read_array(member, allow_pickle=False)))
            with archive.open("features.npy") as member:
                (self.count, *_), _ = _header(member)

    def rows(self, *, patches: bool = False) -> Iterator[Rows]:
        """All rows in order, in chunks."""
        patches = patches and self.record["protocol"]["patches"] is not None
        names = ["images", "sizes", "features"] + (["patches"] if patches else [])
        for images, sizes, features, *maps in self._chunks(names):
            yield Rows(images.tolist(), sizes, features, maps[0] if maps else None)

    def images(self) -> Iterator[str]:
        """The names alone."""
        for (images,) in self._chunks(["images"]):
            yield from images.tolist()

    def _chunks(self, names: list[str]) -> Iterator[tuple[np.ndarray, ...]]:
        """The same rows of several arrays, in chunks."""
        with self._readable(), zipfile.ZipFile(self.path) as archive, contextlib.ExitStack() as members:
            streams = [members.enter_context(archive.open(f"{name}.npy")) for name in names]
            headers = [_header(stream) for stream in streams]
            widths = [int(np.prod(shape[1:])) * dtype.itemsize for shape, dtype in headers]
            rows = max(1, CHUNK_BYTES // sum(widths))
            for start in range(0, self.count, rows):
                count = min(rows, self.count - start)
                yield tuple(
                    np.frombuffer(stream.read(count * width), dtype).reshape(count, *shape[1:])
                    for stream, width, (shape, dtype) in zip(streams, widths, headers, strict=True)
                )

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn errors of reading into a ``UserError``."""
        try:
            yield
        except UserError:
            raise
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, OSError) as error:
            raise UserError(f"{self.path} is damaged or no NPZ file ({error})") from error


def _check_sizes(archive: zipfile.ZipFile, path: Path) -> None:
    """Check that the members hold as many bytes as their arrays, and are not far larger than the archive."""
    members = archive.infolist()
    if sum(member.file_size for member in members) > _LARGE + _MOST_RATIO * path.stat().st_size:
        raise ValueError(f"more than {_MOST_RATIO} times as large once unpacked")
    if archive.getinfo(f"{RECORD}.npy").file_size > _LARGE:
        raise ValueError("a record of no extraction")
    for name in ("images", "sizes", "features", "patches"):
        if f"{name}.npy" in archive.namelist():
            with archive.open(f"{name}.npy") as member:
                shape, dtype = _header(member)
            held = archive.getinfo(f"{name}.npy").file_size
            if len(shape) != _AXES[name] or min(shape[1:], default=1) < 1 or math.prod(shape) * dtype.itemsize > held:
                raise ValueError(f"{name} of shape {shape} in {held:,} bytes")


def _header(member: Member) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of the array whose bytes follow in the stream."""
    version = npy.read_magic(member)
    if version != (1, 0):
        raise ValueError(f"an array of format {version}")
    shape, _, dtype = npy.read_array_header_1_0(member)
    return shape, dtype
