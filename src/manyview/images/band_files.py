"""Values of several bands out of files, as they are stored, but always (height, width, bands) and upright."""

from __future__ import annotations

import logging
import math
from io import BufferedReader, BytesIO
from typing import Any

import numpy as np
from jaxtyping import Shaped

from manyview.images.decode import open_with_pillow
from manyview.images.orientation import TAG, orientation
from manyview.images.unreadable import UnreadableImage

Stream = BytesIO | BufferedReader
Values = Shaped[np.ndarray, "height width bands"]

# tifffile remarks on odd metadata, which is none of the user's business where the pixels are sound.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_WHITE_IS_ZERO = 0
_PLAIN = (_WHITE_IS_ZERO, 1, 2, 34892)  # photometric interpretations of TIFF: also black is zero, RGB, linear raw
_COLOURED = (2, 6)  # colour types of PNG: RGB, RGBA
_BAND_MODES = ("1", "L", "LA", "RGB", "RGBA", "RGBX", "I;16", "I;16L", "I;16B", "I;16N", "F")


def read_npy(stream: Stream, bands: int, max_pixels: int) -> Values:
    """A NumPy array in its own format.

    Raises:
        UnreadableImage: it holds objects, is too short, or has another shape or kind of numbers.
    """
    shape, columns_first, dtype = _npy_header(stream)
    if dtype.hasobject:
        raise UnreadableImage("pickled objects, which could execute code")
    check_kind(dtype)
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


def read_tiff(stream: Stream, bands: int, max_pixels: int) -> Values:
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
    return read_picture(stream, bands, max_pixels)


def _tiff_values(file: Any, bands: int, max_pixels: int) -> Values:
    page = file.pages.first
    check_kind(page.dtype)
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
    tag = page.tags.get(TAG)
    return _upright(values, tag.value if tag is not None else 1)


def _obstacle(page: Any) -> str | None:
    """Why tifffile cannot read a page's pixels, if so."""
    from tifffile import TIFF

    if page.photometric not in _PLAIN:
        return f"colours of the kind {getattr(page.photometric, 'name', page.photometric)}, which are no bands"
    if page.compression not in TIFF.DECOMPRESSORS or page.predictor not in TIFF.UNPREDICTORS:
        name = getattr(page.compression, "name", page.compression)
        return f"TIFF compression {name}, which needs the package imagecodecs"
    if page.dtype is None or page.bitspersample not in (1, 8, 16, 32, 64):
        return f"{page.bitspersample} bits a value"
    return None


def read_picture(stream: Stream, bands: int, max_pixels: int) -> Values:
    """A picture in one of the ordinary formats.

    Raises:
        UnreadableImage: unknown format, or another number of bands.
    """
    data = stream.read()
    image = open_with_pillow(data)
    _check_size((image.height, image.width, bands), 2, max_pixels)
    image.load()
    turn = orientation(image)  # asked only now: of a TIFF, Pillow has turned the pixels itself
    if image.format == "PNG" and data[24] == 16 and data[25] in _COLOURED:  # of whose 16 bits Pillow has kept 8
        values = _deep_png(data)
    elif image.mode in ("P", "PA"):
        values = np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    elif image.mode in _BAND_MODES:
        values = np.array(image)
    else:
        raise UnreadableImage(f"colours of the kind {image.mode}, which are no bands")
    check_kind(values.dtype)
    values = values.reshape(_three(values.shape))
    if values.shape[2] != bands:
        raise UnreadableImage(f"{values.shape[2]} bands instead of {bands}")
    return _upright(values, turn)


def _deep_png(data: bytes) -> Values:
    """RGB or RGBA of 16 bits each, of a file that is known to be sound."""
    import cv2

    values = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    return values[..., [2, 1, 0, 3][: values.shape[2]]]  # from blue, green, red


def check_kind(dtype: np.dtype) -> None:
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
