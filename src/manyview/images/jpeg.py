"""The structure of JPEG files (ITU-T T.81, annex B): their segments, and whether the data of all pixels are there."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL.JpegImagePlugin import JpegImageFile

from manyview.images.unreadable import UnreadableImage

JPEG = b"\xff\xd8\xff"  # the first bytes
_COMMON = ("YCbCr", "RGB", "Gray")  # color models
END = b"\xff\xd9"  # the last
_START_OF_SCAN = 0xDA
# libjpeg's warnings after which pixels are missing or come from the wrong bytes; a restart marker (d0 to d7) is found
# too late or too early where bytes before it are damaged. Others are harmless, e.g. padding before the end.
_MISSING = re.compile("premature end of data segment")
_DAMAGED = re.compile("bad Huffman code|bad arithmetic code|instead of RST|before marker 0xd[0-7]")
_METADATA = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))  # all but JFIF's and Adobe's, which change colors
_LARGE_METADATA = 2**20  # bytes
_SCAN = b"\xff\xda"
_MOST_SCANS = 500  # each of which a decoder goes through the whole image for; encoders write about ten
_HOLE = bytes(512)  # a block of a disk or of a download that was never written
_FILLER = bytes(range(1, 255))  # coded values that are not zero, in which case missing blocks would be gray


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Segments of a JPEG before its pixels: marker, and first and last + 1 position of the contents in ``data``.

    They end with the start of the first scan, or where something else than a segment follows.

    Raises:
        UnreadableImage: the file ends among them.
    """
    start = 2
    while data[start : start + 1] == b"\xff":
        marker = data[start + 1] if start + 1 < len(data) else None
        if marker == 0xFF:  # a fill byte
            start += 1
            continue
        end = start + 2 + max(int.from_bytes(data[start + 2 : start + 4], "big"), 2)
        if marker is None or end > len(data):
            raise UnreadableImage("truncated file")
        yield marker, start + 4, end
        if marker == _START_OF_SCAN:
            return
        start = end


class CommonHeader(NamedTuple):
    """Header of a JPEG that simplejpeg may decode.

    Attributes:
        width: in pixels, as stored.
        height: in pixels, as stored.
        colors: color model, "YCbCr", "RGB" or "Gray".
    """

    width: int
    height: int
    colors: str


def without_metadata(data: bytes) -> bytes:
    """A JPEG without EXIF, color profiles and other metadata, if these are large; orientation is read elsewhere.

    Pillow joins them segment by segment, in time that grows with the square of their number.

    Raises:
        UnreadableImage: the file ends among its segments.
    """
    kept, start, removed = [], 0, 0
    for marker, first, last in segments(data):
        if marker in _METADATA:
            kept.append(data[start : first - 4])
            removed += last - first
            start = last
    return b"".join([*kept, data[start:]]) if removed > _LARGE_METADATA else data


def check_scans(data: bytes) -> None:
    """Check that a JPEG does not pass over its pixels so many times that decoding it would take hours.

    Raises:
        UnreadableImage: it has more than 500 scans.
    """
    if data.count(_SCAN) <= _MOST_SCANS:  # also counts bytes of thumbnails and of other metadata
        return
    start = max((first for marker, first, _ in segments(data) if marker == _START_OF_SCAN), default=len(data))
    scans = 1 + data.count(_SCAN, start, end if (end := data.find(END, start)) >= 0 else len(data))
    if scans > _MOST_SCANS:
        raise UnreadableImage(f"damaged file ({scans:,} scans)")


def common_header(data: bytes) -> CommonHeader | None:
    """Read the header of a JPEG; None for CMYK, which simplejpeg does not convert, and for damaged ones."""
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return CommonHeader(width, height, colors) if colors in _COMMON else None


def quick_pixels(
    data: bytes, header: CommonHeader, shrink: int = 1, *, gray: bool = False
) -> UInt8[np.ndarray, "height width _"] | None:
    """Decode with simplejpeg, at a size divided by ``shrink`` (1, 2, 4 or 8), rounded up.

    Args:
        data: the file.
        header: of this file.
        shrink: scaling in the DCT domain, at a part of the cost.
        gray: whether a gray JPEG keeps its one channel.

    Returns:
        RGB or gray; None for a file in which simplejpeg finds anything unusual, so that ``whole_jpeg`` must judge.
    """
    target = "GRAY" if gray and header.colors == "Gray" else "RGB"
    least = {"min_height": -(-header.height // shrink), "min_width": -(-header.width // shrink)}
    try:
        return simplejpeg.decode_jpeg(data, target, **least)
    except (ValueError, MemoryError):
        return None


def whole_jpeg(data: bytes) -> bytes:
    """Check that a JPEG holds the data of all its pixels, at about half the cost of decoding it.

    Decoders fill what is missing with gray, and report no more than a warning. Needed only where a decoder did.

    Args:
        data: of any color model.

    Returns:
        The file from its start to the end of its pixels, with the marker of the end, which ``data`` may lack.

    Raises:
        UnreadableImage: some are missing, or damaged in a way that a decoder notices.
    """
    start = max((end for _, _, end in segments(data)), default=2)
    end = data.find(END, start)
    # Bytes of zero at the end are what a download or a crash left unwritten, and would be decoded like any others.
    coded = data if end < 0 else data[:end]
    pixels = coded.rstrip(b"\0")
    if pixels.endswith(b"\xff") and len(pixels) < len(coded):
        pixels += b"\0"  # it belongs to the last coded byte, which would else begin a marker (T.81, B.1.1.5)
    whole = pixels + END
    warning = _warning(whole)
    if warning is None:
        return whole
    if _MISSING.search(warning):
        raise UnreadableImage("truncated file")
    if _DAMAGED.search(warning):
        raise UnreadableImage(f"damaged file ({warning})")
    if _HOLE in pixels[start:]:
        raise UnreadableImage("damaged file (zeros in place of its data)")
    # The first warning alone is known, and it is harmless. Where data are missing nonetheless, what follows is decoded.
    if not np.array_equal(_with_pillow(whole), _with_pillow(pixels + _FILLER + END)):
        raise UnreadableImage("truncated file")
    return whole


def _warning(data: bytes) -> str | None:
    """The first warning or error of decoding a JPEG, at an eighth of the size; None where there is none."""
    try:
        colors = simplejpeg.decode_jpeg_header(data)[2]
        target = {"Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}.get(colors, "RGB")  # CMYK converts to nothing else
        simplejpeg.decode_jpeg(data, target, min_width=1, min_height=1)
    except ValueError as error:
        return str(error)
    return None


def _with_pillow(data: bytes) -> np.ndarray:
    """Pixels at an eighth of the size, whatever warnings there are."""
    image = JpegImageFile(io.BytesIO(without_metadata(data)))
    image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
    return np.asarray(image)
