"""Images of any number of bands, of 8 or 16 bits: multi-band TIFF, NumPy arrays, and ordinary formats that fit."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16

from manyview.images.decode import ORIENTATION, open_with_pillow, orientation
from manyview.images.unreadable import UnreadableImage, readable, reasons

Stream = BytesIO | BufferedReader
Values = Shaped[np.ndarray, "height width bands"]  # as they are stored, but upright and with the bands last
Bands = UInt8[np.ndarray, "height width bands"] | UInt16[np.ndarray, "height width bands"]

# tifffile remarks on odd metadata, which is none of the user's business where the pixels are sound.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_WHITE_IS_ZERO = 0
_PLAIN = (_WHITE_IS_ZERO, 1, 2, 34892)  # photometric interpretations of TIFF: also black is zero, RGB, linear raw
_COLORED = (2, 6)  # color types of PNG: RGB, RGBA
_BAND_MODES = ("1", "L", "LA", "RGB", "RGBA", "RGBX", "I;16", "I;16L", "I;16B", "I;16N", "F")


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
    - PNG and other pictures that have just so many bands: gray, gray with alpha, RGB, RGB with alpha.

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
            values = _read_npy(stream, bands, max_pixels)
        elif head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            values = _read_tiff(stream, bands, max_pixels)
        else:
            values = _read_picture(stream, bands, max_pixels)
        return _to_depth(values)


def full_scale(dtype: np.dtype) -> int:
    """The value of white: 255 for uint8, 65535 for uint16."""
    return int(np.iinfo(dtype).max)


def same_depth(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Images of 8 and of 16 bits that are to be stacked: those of 8 bits scaled up (x 257) where there are both."""
    if len({image.dtype for image in images}) < 2:
        return list(images)
    return [image * np.uint16(257) if image.dtype == np.uint8 else image for image in images]


@contextlib.contextmanager
def _opened(source: bytes | Path) -> Iterator[Stream]:
    """The source as a stream; a file is not read at once, as one that is too large is refused from its header."""
    if isinstance(source, bytes):
        yield BytesIO(source)
        return
    with readable(source):
        stream = source.open("rb")
    with stream:
        yield stream


def _read_npy(stream: Stream, bands: int, max_pixels: int) -> Values:
    """A NumPy array in its own format.

    Raises:
        UnreadableImage: it holds objects, is too short, or has another shape or kind of numbers.
    """
    shape, columns_first, dtype = _npy_header(stream)
    if dtype.hasobject:
        raise UnreadableImage("pickled objects, which could execute code")
    _check_dtype(dtype)
    axis = _find_bands(shape, bands)
    _check_size(shape, axis, max_pixels)
    values = np.empty(math.prod(shape), dtype)
    if stream.readinto(values.view(np.uint8).data) < values.nbytes:
        raise UnreadableImage("truncated file")
    values = values.reshape(shape, order="F" if columns_first else "C")
    return np.moveaxis(values.reshape(_three(shape)), axis, 2)


def _npy_header(stream: Stream) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(stream)
    except ValueError as error:
        raise UnreadableImage("truncated file" if "EOF" in str(error) else f"damaged file ({error})") from error
    raise UnreadableImage("a structured array")  # only names of fields need a later version


def _read_tiff(stream: Stream, bands: int, max_pixels: int) -> Values:
    """A TIFF file's first page, or where its pages hold one band each, all of them.

    Raises:
        UnreadableImage: another number of bands, or of a kind or compression that cannot be read.
    """
    from tifffile import TiffFile

    with TiffFile(stream, is_ome=False) as file:  # OME's description may lead to other files
        page = file.pages.first
        if (obstacle := _obstacle(page)) is None:
            return _tiff_values(file, bands, max_pixels)
        if page.bitspersample != 8 and page.samplesperpixel > 1:  # Pillow would cut its 16 bits down to 8
            raise UnreadableImage(obstacle)
    stream.seek(0)
    try:
        open_with_pillow(stream.read())
    except Exception:  # Pillow does not know it, either
        raise UnreadableImage(obstacle) from None
    stream.seek(0)
    return _read_picture(stream, bands, max_pixels)


def _tiff_values(file: Any, bands: int, max_pixels: int) -> Values:
    page = file.pages.first
    _check_dtype(page.dtype)
    if page.samplesperpixel == bands > 1 and page.axes in ("YXS", "SYX"):
        part, pages, axis = page, [page], page.axes.index("S")
    else:
        part, pages = file.series[0], file.series[0].pages
        axis = _find_bands(part.shape, bands)
    _check_size(part.shape, axis, max_pixels)
    end = file.filehandle.size
    places = [place for page in pages if page for place in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if getattr(part, "dataoffset", None) is not None:  # all pages' pixels in one piece, whatever their directories say
        places.append((part.dataoffset, part.nbytes))
    if any(offset + count > end for offset, count in places):
        raise UnreadableImage("truncated file")
    # One thread: the loader's processes share the cores already.
    values = np.moveaxis(part.asarray(maxworkers=1).reshape(_three(part.shape)), axis, 2)
    if page.photometric == _WHITE_IS_ZERO:
        values = 1 - values if values.dtype.kind == "f" else ~values
    tag = page.tags.get(ORIENTATION)
    return _upright(values, tag.value if tag is not None else 1)


def _obstacle(page: Any) -> str | None:
    """Why tifffile cannot read a page's pixels, if so."""
    from tifffile import TIFF

    if page.photometric not in _PLAIN:
        return f"colors of the kind {getattr(page.photometric, 'name', page.photometric)}, which are no bands"
    if page.compression not in TIFF.DECOMPRESSORS or page.predictor not in TIFF.UNPREDICTORS:
        name = getattr(page.compression, "name", page.compression)
        return f"TIFF compression {name}, which needs the package imagecodecs"
    if page.dtype is None or page.bitspersample not in (1, 8, 16, 32, 64):
        return f"{page.bitspersample} bits a value"
    return None


def _read_picture(stream: Stream, bands: int, max_pixels: int) -> Values:
    """A picture in one of the ordinary formats.

    Raises:
        UnreadableImage: unknown format, or another number of bands.
    """
    data = stream.read()
    image = open_with_pillow(data)
    _check_size((image.height, image.width, bands), 2, max_pixels)
    image.load()
    turn = orientation(image)  # asked only now: of a TIFF, Pillow has turned the pixels itself
    if image.format == "PNG" and data[24] == 16 and data[25] in _COLORED:  # of whose 16 bits Pillow has kept 8
        values = _deep_png(data)
    elif image.mode in ("P", "PA"):
        values = np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    elif image.mode in _BAND_MODES:
        values = np.array(image)
    else:
        raise UnreadableImage(f"colors of the kind {image.mode}, which are no bands")
    _check_dtype(values.dtype)
    values = values.reshape(_three(values.shape))
    if values.shape[2] != bands:
        raise UnreadableImage(f"{values.shape[2]} bands instead of {bands}")
    return _upright(values, turn)


def _deep_png(data: bytes) -> Values:
    """RGB or RGBA of 16 bits each, of a file that is known to be sound."""
    import cv2

    values = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    return values[..., [2, 1, 0, 3][: values.shape[2]]]  # from blue, green, red


def _check_dtype(dtype: np.dtype) -> None:
    """Refuse numbers of which it is not known which is white.

    Raises:
        UnreadableImage: they are neither bits, unsigned of 8 or 16 bits, nor floating-point.
    """
    if dtype.kind not in "buf" or (dtype.kind == "u" and dtype.itemsize > 2):
        raise UnreadableImage(f"values of type {dtype.name}, whose white is unknown")


def _three(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with three axes, if ones can be left out or added at its end."""
    shape = (*shape, 1) if len(shape) == 2 else shape
    while len(shape) > 3 and 1 in shape:
        place = shape.index(1)
        shape = shape[:place] + shape[place + 1 :]
    return shape


def _find_bands(shape: tuple[int, ...], bands: int) -> int:
    """The axis of the bands: the last of three, or the first."""
    three = _three(shape)
    places = [axis for axis in (2, 0) if len(three) == 3 and three[axis] == bands]
    told = " x ".join(map(str, shape))
    if not places:
        raise UnreadableImage(f"shape {told}, which has no axis of {bands} bands")
    if len(places) == 2 and bands > 1:
        raise UnreadableImage(f"shape {told}, in which either end may be the {bands} bands")
    return places[0]


def _check_size(shape: tuple[int, ...], axis: int, max_pixels: int) -> None:
    three = list(_three(shape))
    del three[axis]
    height, width = three
    if height * width == 0:
        raise UnreadableImage("no pixels")
    if height * width > max_pixels:
        raise UnreadableImage(f"too large: {width} x {height} pixels")


def _upright(values: Values, turn: int) -> Shaped[np.ndarray, "rows columns bands"]:
    """Undo the orientation that EXIF, or TIFF itself, names."""
    if turn in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if turn in (2, 3, 6, 7):
        values = values[:, ::-1]
    if turn in (3, 4, 7, 8):
        values = values[::-1]
    return values


def _to_depth(values: Values) -> Bands:
    """Values of a kind that ``_check_dtype`` lets through, as 8 or 16 bits of this machine's byte order."""
    if values.dtype == bool:
        return values * np.uint8(255)
    if values.dtype.kind == "f":
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 1):  # "not", so that NaN is refused too
            raise UnreadableImage(f"floating-point values from {low:g} to {high:g}, not within 0 to 1")
        return (values * np.float32(65535) + np.float32(0.5)).astype(np.uint16)
    return values.astype(values.dtype.newbyteorder("="), copy=False)
