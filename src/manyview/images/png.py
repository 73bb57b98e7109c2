"""The chunks of PNG files: those that make up the pixels, checked, and the metadata that give the orientation.

Chunks, color types and the passes of interlaced files are those of the PNG specification, third edition, sections 5,
11.2 and 8.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt16
from PIL.Image import Image

from manyview.images.unreadable import UnreadableImage

PNG = b"\x89PNG\r\n\x1a\n"
PNG_HEADER = 26  # bytes up to the color type
_TRANSPARENCY, _END = b"tRNS", b"IEND"
_XMP, _EXIF_TEXT = b"XML:com.adobe.xmp", b"Raw profile type exif"
_MOST_TEXT = 16 * 2**20  # bytes of a file's text chunks once decompressed; those that follow are left out

_AT_ONCE = 2**20  # bytes decompressed together
_GRAY, _GRAY_ALPHA, _RGB_ALPHA = 0, 4, 6  # color types
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by color type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

Chunk = tuple[bytes, int, int]
"""Type, and first and last + 1 position of the body in the file; the end lies beyond a file that is cut off."""


def pixel_chunks(data: bytes) -> bytes:
    """A PNG without what does not change its pixels: with its critical chunks and its transparency alone.

    Color profiles, texts and other ancillary chunks may be damaged, or larger than a reader takes.

    Args:
        data: the file, which may lack its last chunk IEND, but no pixels.

    Raises:
        UnreadableImage: one of those chunks has a wrong checksum or is cut off.
    """
    kept = [PNG]
    for name, start, end in _chunks(data):
        if name == _END:
            break
        if not _ancillary(name) or name == _TRANSPARENCY:
            if end + 4 > len(data):
                raise UnreadableImage("truncated file")
            if not _intact(data, (name, start, end)):
                raise UnreadableImage(f"damaged file (wrong checksum of its chunk {name.decode('ascii')})")
            kept.append(data[start - 8 : end + 4])
    kept.append(bytes(4) + _END + zlib.crc32(_END).to_bytes(4, "big"))
    return b"".join(kept)


def is_deep_png(data: bytes) -> bool:
    """Whether a PNG has samples of 16 bits."""
    return data[24:25] == b"\x10"


def has_deep_colors(data: bytes) -> bool:
    """Whether a PNG has samples of 16 bits of which Pillow keeps 8: all but gray without alpha."""
    return is_deep_png(data) and data[25] != _GRAY


def has_alpha(data: bytes) -> bool:
    """Whether the last sample of each pixel of a PNG is alpha."""
    return data[25] in (_GRAY_ALPHA, _RGB_ALPHA)


def deep_samples(data: bytes) -> UInt16[np.ndarray, "height width samples"]:
    """Decode a 16-bit PNG that is known to be intact: gray or RGB, with or without alpha."""
    import cv2

    values = np.asarray(cv2.imdecode(np.frombuffer(pixel_chunks(data), np.uint8), cv2.IMREAD_UNCHANGED))
    if values.ndim == 2:
        return values[..., None]
    return values[..., {_GRAY_ALPHA: [0, 3]}.get(data[25], [2, 1, 0, 3][: values.shape[2]])]  # from BGR


def check_rows(data: bytes, image: Image) -> None:
    """Check that a PNG's compressed data hold all rows.

    Pillow leaves missing rows 0 where the data end properly. Only where its last row is 0, or where it is interlaced,
    the data are decompressed once more, at about half the cost of decoding them.

    Args:
        data: the file.
        image: the same, loaded by Pillow.

    Raises:
        UnreadableImage: some are missing.
    """
    if not data[28] and not _ends_in_0(image):
        return
    width, height, bits, color, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    expected = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        expected += rows * (1 + -(-columns * bits * _SAMPLES[color] // 8)) if columns > 0 and rows > 0 else 0
    inflater, found = zlib.decompressobj(), 0
    for name, start, end in _chunks(data):
        piece = data[start:end] if name == b"IDAT" else b""
        while piece and found < expected:
            found += len(inflater.decompress(piece, _AT_ONCE))
            piece = inflater.unconsumed_tail
    if found < expected:  # all that there is has been decompressed
        raise UnreadableImage("truncated file")


def _ends_in_0(image: Image) -> bool:
    """Whether all of the last row is 0; by its pixels, as a crop would be under Pillow's own limit of size."""
    zero = (0, (0,) * len(image.getbands()))
    return all(image.getpixel((column, image.height - 1)) in zero for column in range(image.width))


def ancillary(data: bytes) -> tuple[bytes, bytes]:
    """EXIF and the XMP packet of a PNG; empty where there is none, and where its checksum is wrong."""
    exif = exif_text = xmp = b""
    left = _MOST_TEXT
    for chunk in _chunks(data):
        name, start, end = chunk
        if name not in (b"eXIf", b"iTXt", b"zTXt", b"tEXt") or end + 4 > len(data):
            continue
        keyword = data[start : start + 80].split(b"\0", 1)[0]
        if name == b"eXIf" and _intact(data, chunk):
            exif = data[start:end]
        elif keyword in (_XMP, _EXIF_TEXT) and left > 0 and _intact(data, chunk):
            text = _text(name, data[start + len(keyword) + 1 : end], left)
            left -= len(text)
            xmp = text if keyword == _XMP else xmp
            exif_text = _from_hexadecimal(text) if keyword == _EXIF_TEXT else exif_text
    return exif or exif_text, xmp


def _chunks(data: bytes) -> Iterator[Chunk]:
    """All chunks up to the last, or up to what is none."""
    start, name = len(PNG), b""
    while name != _END and len(data[start : start + 8]) == 8 and data[start + 4 : start + 8].isalpha():
        name = data[start + 4 : start + 8]
        size = int.from_bytes(data[start : start + 4], "big")
        yield name, start + 8, start + 8 + size
        start += 12 + size


def _ancillary(name: bytes) -> bool:
    """By the case of the first letter, its fifth bit."""
    return bool(name[0] & 0x20)


def _intact(data: bytes, chunk: Chunk) -> bool:
    _, start, end = chunk
    return zlib.crc32(memoryview(data)[start - 4 : end]) == int.from_bytes(data[end : end + 4], "big")


def _text(name: bytes, body: bytes, most: int) -> bytes:
    """The first ``most`` bytes of a text chunk, of its body after the keyword; none where it cannot be decompressed."""
    compressed = name == b"zTXt"
    if name == b"iTXt":  # flag and method of compression, language, translated keyword
        compressed = body[:1] == b"\1"
        body = body[2:].split(b"\0", 2)[-1]
    elif compressed:
        body = body[1:]
    if not compressed:
        return body[:most]
    try:
        return zlib.decompressobj().decompress(body, most)
    except zlib.error:
        return b""


def _from_hexadecimal(text: bytes) -> bytes:
    """The contents of a "Raw profile": name, length and hexadecimal digits, in lines."""
    try:
        return bytes.fromhex("".join(text.decode("ascii").split("\n")[3:]))
    except ValueError:
        return b""
