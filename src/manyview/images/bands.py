"""Images of any number of bands, of 8 or 16 bits: multi-band TIFF, NumPy arrays, and ordinary formats that fit."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16

from manyview.images.band_files import Stream, read_npy, read_picture, read_tiff
from manyview.images.unreadable import UnreadableImage, readable, reasons

Bands = UInt8[np.ndarray, "height width bands"] | UInt16[np.ndarray, "height width bands"]


@dataclass(frozen=True)
class BandImage:
    """A decoded image of several bands, with the attributes of ``open_image``'s."""

    pixels: Bands

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.pixels.shape[1]

    def decode(self, shrink: int = 1) -> Bands:
        """The pixels, always in full size: none of these formats is decoded faster at a reduced one."""
        return self.pixels


def open_bands(source: bytes | Path, bands: int, *, max_pixels: int = 200_000_000) -> BandImage:
    """``decode_bands``, with the result in the form of ``open_image``."""
    return BandImage(decode_bands(source, bands, max_pixels=max_pixels))


def decode_bands(source: bytes | Path, bands: int, *, max_pixels: int = 200_000_000) -> Bands:
    """Decode an image of so many bands to upright 8-bit or 16-bit pixels.

    - TIFF: samples of a pixel side by side or in planes, or one band a page; tiles or strips, either byte order,
      uncompressed, Deflate, PackBits or LZMA. LZW and others need the package imagecodecs, but for 8-bit files of up to
      four bands. Where the first page holds all bands, it alone counts.
    - ``.npy``: (height, width, bands), (bands, height, width), or (height, width) for one band. Never unpickled.
    - PNG and other pictures that have just so many bands: grey, grey with alpha, RGB, RGB with alpha.

    Unsigned values of 8 and 16 bits stay as they are, so that 12 bits kept in 16 stay small numbers. Black and white
    become 0 and 255. Floating-point values must lie within 0 to 1 and become 16 bits, rounded. All others (signed,
    32 bits, floating point beyond 0 to 1) have no defined white and are refused. Where TIFF says that 0 is white,
    values are inverted.

    Args:
        source: encoded bytes, or the file that holds them.
        bands: how many bands it must have, at least 1.
        max_pixels: an image with more pixels is refused from its header, before anything is decoded. An image takes
            at most height x width x bands x 2 bytes in the end, and some three times that on the way.

    Returns:
        An array of its own, uint8 (white is 255) or uint16 (white is 65535); not always contiguous.

    Raises:
        UnreadableImage: there is no whole image of that kind in the source; ``.reason`` says why.
    """
    where = None if isinstance(source, bytes) else str(source)
    with reasons(where), _opened(source) as stream:
        head = stream.read(8)
        stream.seek(0)
        if head.startswith(b"\x93NUMPY"):
            values = read_npy(stream, bands, max_pixels)
        elif head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            values = read_tiff(stream, bands, max_pixels)
        else:
            values = read_picture(stream, bands, max_pixels)
        return _to_depth(values)


def full_scale(dtype: np.dtype) -> int:
    """The value of white: 255 for uint8, 65535 for uint16."""
    return int(np.iinfo(dtype).max)


def same_depth(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Images of 8 and of 16 bits that are to be stacked: those of 8 bits scaled up (x 257) where there are both."""
    if len({image.dtype for image in images}) < 2:
        return list(images)
    return [image * np.uint16(257) if image.dtype == np.uint8 else image for image in images]


def _to_depth(values: Shaped[np.ndarray, "height width bands"]) -> Bands:
    """Values of a kind that ``band_files.check_kind`` lets through, as 8 or 16 bits of this machine's byte order."""
    if values.dtype == bool:
        return values * np.uint8(255)
    if values.dtype.kind == "f":
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 1):  # "not", so that NaN is refused too
            raise UnreadableImage(f"floating-point values from {low:g} to {high:g}, not within 0 to 1")
        return (values * np.float32(65535) + np.float32(0.5)).astype(np.uint16)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


@contextlib.contextmanager
def _opened(source: bytes | Path) -> Iterator[Stream]:
    """The source as a stream; a file is not read at once, as one that is too large is refused from its header."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    with readable(source):
        stream = source.open("rb")
    with stream:
        yield stream
