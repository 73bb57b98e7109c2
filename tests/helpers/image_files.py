"""PNGs written from their specification, EXIF that states an orientation, and images turned upright by definition."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np

PNG = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by samples of a pixel
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))

# Pixels without any symmetry, (40, 60, 3), smooth enough for lossy formats.
STORED = np.stack(np.broadcast_arrays(*np.ix_(range(0, 240, 6), range(0, 240, 4)), 90), -1).astype(np.uint8)
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


def exif(orientation: int) -> bytes:
    """EXIF in TIFF's format, little-endian, with this one tag."""
    return struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def chunk(name: bytes, body: bytes, *, sound: bool = True) -> bytes:
    """A chunk of a PNG; one that is not sound has a wrong checksum."""
    checksum = zlib.crc32(name + body) ^ (not sound)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def png_header(values: np.ndarray, size: tuple[int, int] | None = None, *, interlaced: bool = False) -> bytes:
    """The first chunk of a PNG of such values; see ``png``."""
    width, height = size or (values.shape[1], values.shape[0])
    color = _COLOR_TYPES[values.shape[2] if values.ndim == 3 else 1]
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * values.itemsize, color, 0, 0, interlaced))


def png_rows(values: np.ndarray, *, interlaced: bool = False) -> bytes:
    """The rows of a PNG before they are compressed, none of them filtered; interlaced, those of Adam7's passes."""
    passes = [values[top::down, left::across] for top, left, down, across in _ADAM7] if interlaced else [values]
    rows = [row for part in passes if part.size for row in part]
    return b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in rows)


def png(values: np.ndarray, size: tuple[int, int] | None = None, *, interlaced: bool = False) -> bytes:
    """A PNG of one compressed chunk.

    Args:
        values: gray or RGB, with alpha or without, (height, width) or (height, width, samples), of 8 or 16 bits.
        size: width and height as the header states them, which may be wrong.
        interlaced: whether the rows are in Adam7's order.
    """
    data = chunk(b"IDAT", zlib.compress(png_rows(values, interlaced=interlaced)))
    return PNG + png_header(values, size, interlaced=interlaced) + data + chunk(b"IEND", b"")
