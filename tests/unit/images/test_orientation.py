"""The orientation of an image: one rule for all formats and for every way to state it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyview.images import decode_image, open_image
from manyview.images.bands import decode_bands
from manyview.images.jpeg_on_device import read_jpeg
from manyview.images.orientation import stated
from manyview.labels.read_objects import _measure
from tests.helpers.image_files import STORED, UPRIGHT, chunk, exif


def attribute(number: int) -> bytes:
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{number}"/></x:xmpmeta>'.encode()


def element(number: int) -> bytes:
    return f"<rdf:Description>\n<tiff:Orientation> {number} </tiff:Orientation></rdf:Description>".encode()


def quoted(number: int) -> bytes:
    return f"<rdf:Description tiff:Orientation = '{number}'/>".encode()


def wide(number: int) -> bytes:
    return attribute(number).decode().encode("utf-16-le")


def saved(format: str, **options: bool | int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(STORED).save(stream, format, **options)
    return stream.getvalue()


def jpeg(exif: bytes | None, xmp: bytes | None) -> bytes:
    data, extra = saved("JPEG", quality=95), b""
    for prefix, body in ((b"Exif\0\0", exif), (b"http://ns.adobe.com/xap/1.0/\0", xmp)):
        if body is not None:
            extra += b"\xff\xe1" + struct.pack(">H", 2 + len(prefix + body)) + prefix + body
    return data[:2] + extra + data[2:]


def cmyk_jpeg(exif: bytes | None, xmp: bytes | None) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(STORED).convert("CMYK").save(stream, "JPEG", quality=95, subsampling=0)
    plain = jpeg(exif, xmp)
    return plain[: plain.index(b"\xff\xe0")] + stream.getvalue()[2:]


def png(exif: bytes | None, xmp: bytes | None, *, after: bool = False, text: bool = False) -> bytes:
    data, extra = saved("PNG"), b""
    if exif is not None and text:
        digits = b"\nexif\n%8d\n" % len(exif) + exif.hex().encode()
        extra += chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(digits))
    elif exif is not None:
        extra += chunk(b"eXIf", exif)
    if xmp is not None:
        body = b"\1\0\0\0" + zlib.compress(xmp) if text else b"\0\0\0\0" + xmp
        extra += chunk(b"iTXt", b"XML:com.adobe.xmp\0" + body)
    at = len(data) - 12 if after else 33
    return data[:at] + extra + data[at:]


def webp(exif: bytes | None, xmp: bytes | None) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(STORED).save(stream, "WEBP", lossless=True, exif=exif or b"", xmp=xmp or b"")
    return stream.getvalue()


def tiff(exif: bytes | None, xmp: bytes | None, bits: int = 8, *, planes: bool = False) -> bytes:
    """An uncompressed RGB TIFF written from its specification, whose own tags say what EXIF and XMP do elsewhere."""
    height, width, _ = STORED.shape
    values = STORED.astype(np.uint16) * 257 if bits == 16 else STORED
    data = (values.transpose(2, 0, 1) if planes else values).tobytes()
    offsets = [8 + 6 + part * len(data) // 3 for part in range(3)] if planes else [8 + 6]
    counts = [len(data) // 3] * 3 if planes else [len(data)]
    entries: dict[int, tuple[str, list[int]]] = {256: ("H", [width]), 257: ("H", [height]), 258: ("H", [bits] * 3)}
    entries |= {259: ("H", [1]), 262: ("H", [2]), 273: ("I", offsets), 277: ("H", [3]), 278: ("H", [height])}
    entries |= {279: ("I", counts), 284: ("H", [2 if planes else 1])}
    if exif is not None:
        entries[274] = ("H", [struct.unpack_from("<H", exif, 18)[0]])
    if xmp is not None:
        entries[700] = ("B", list(xmp))
    body, directory = bytes(6) + data, b""
    for tag, (letter, numbers) in sorted(entries.items()):
        packed = struct.pack(f"<{len(numbers)}{letter}", *numbers)
        if len(packed) > 4:
            body += bytes(len(body) % 2)
            packed, body = struct.pack("<I", 8 + len(body)), body + packed
        directory += struct.pack("<HHI4s", tag, {"B": 1, "H": 3, "I": 4}[letter], len(numbers), packed)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(body))
    return head + body + struct.pack("<H", len(entries)) + directory + bytes(4)


def gif(exif: bytes | None, xmp: bytes | None) -> bytes:
    data = saved("GIF")
    start = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    trailer = b"\1" + bytes(range(255, -1, -1)) + b"\0"  # by which readers of sub-blocks skip the packet
    return data[:start] + (b"" if xmp is None else b"!\xff\x0bXMP DataXMP" + xmp + trailer) + data[start:]


Format = Callable[[bytes | None, bytes | None], bytes]
FORMATS: dict[str, tuple[Format, int]] = {
    "JPEG": (jpeg, 8),
    "CMYK JPEG": (cmyk_jpeg, 255),
    "JPEG without an end": (lambda exif, xmp: jpeg(exif, xmp)[:-2], 8),
    "PNG": (png, 0),
    "PNG, after the pixels": (lambda exif, xmp: png(exif, xmp, after=True), 0),
    "PNG, as compressed text": (lambda exif, xmp: png(exif, xmp, text=True), 0),
    "WebP": (webp, 0),
    "TIFF": (tiff, 0),
    "TIFF, 16 bits": (lambda exif, xmp: tiff(exif, xmp, 16), 0),
    "TIFF, 16 bits in planes": (lambda exif, xmp: tiff(exif, xmp, 16, planes=True), 0),
    "GIF": (gif, 0),
}
WAYS: dict[str, Callable[[int], tuple[bytes | None, bytes | None]]] = {
    "EXIF": lambda number: (exif(number), None),
    "XMP": lambda number: (None, attribute(number)),
    "XMP, as an element": lambda number: (None, element(number)),
    "XMP, single quotes": lambda number: (None, quoted(number)),
    "XMP, UTF-16": lambda number: (None, wide(number)),
    "both": lambda number: (exif(number), attribute(9 - number)),
    "EXIF of no orientation": lambda number: (exif(0), attribute(number)),
}


def table() -> list[tuple[str, str, int]]:
    """Formats, ways, and in turn two of the eight numbers: every format has all numbers, and every way has.

    GIF has no EXIF, and its XMP ends at the first zero.
    """
    return [
        (format, way, 1 + (first + second + more) % 8)
        for first, format in enumerate(FORMATS)
        for second, way in enumerate(WAYS)
        for more in ((0, 4) if format != "GIF" else range(8))
        if format != "GIF" or way in list(WAYS)[1:4]
    ]


@pytest.mark.parametrize(("format", "way", "number"), table())
def test_every_format_is_turned_by_one_rule(format: str, way: str, number: int, tmp_path: Path) -> None:
    encode, tolerance = FORMATS[format]
    metadata = WAYS[way](number)
    data, plain = encode(*metadata), encode(None, None)
    stored = decode_image(plain)
    if tolerance < 255:  # the colors of CMYK are another test's
        reference = stored if format == "GIF" else STORED
        assert np.abs(stored.astype(int) - reference).max() <= tolerance
    expected = UPRIGHT[number](stored)
    np.testing.assert_array_equal(decode_image(data), expected)
    opened = open_image(data)
    assert (opened.height, opened.width) == expected.shape[:2]
    assert opened.decode(4).shape[:2] == (-(-expected.shape[0] // 4), -(-expected.shape[1] // 4))
    (tmp_path / "file").write_bytes(data)
    assert _measure(tmp_path / "file") == (expected.shape[1], expected.shape[0])
    if format != "CMYK JPEG":
        bands = decode_bands(data, 3)
        np.testing.assert_array_equal(bands, UPRIGHT[number](decode_bands(plain, 3)))
    if format == "JPEG":
        found = read_jpeg(tmp_path / "file", max_pixels=10**6)
        assert found is not None
        assert found[1].orientation == number
        assert (found[1].height, found[1].width) == expected.shape[:2]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "metadata",
    [
        (b"rubbish", None),
        (exif(9), None),
        (exif(65535), b"rubbish"),
        (None, attribute(0)),
        (None, attribute(9)),
        (None, b'<rdf:Description tiff:Orientation="12"/>'),
        (None, b""),
    ],
)
def test_what_states_none_is_upright(format: str, metadata: tuple[bytes | None, bytes | None]) -> None:
    if format.startswith("TIFF") and metadata[0] == b"rubbish":  # its orientation is a tag of its own
        metadata = (exif(0), None)
    encode, _ = FORMATS[format]
    np.testing.assert_array_equal(decode_image(encode(*metadata)), decode_image(encode(None, None)))


def test_metadata_at_the_end_of_a_large_file_is_measured(tmp_path: Path) -> None:
    """Sizes of label files are read from the beginnings of images where that suffices."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    data = stream.getvalue()
    (tmp_path / "a.png").write_bytes(data[:-12] + chunk(b"eXIf", exif(6)) + data[-12:])
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG")
    data, packet = stream.getvalue(), b"http://ns.adobe.com/xap/1.0/\0" + attribute(6)
    others = (b"\xff\xe2" + struct.pack(">H", 60000) + bytes(59998)) * 2
    (tmp_path / "a.jpg").write_bytes(
        data[:2] + others + b"\xff\xe1" + struct.pack(">H", 2 + len(packet)) + packet + data[2:]
    )
    for name in ("a.png", "a.jpg"):
        assert _measure(tmp_path / name) == (200, 300)


def test_exif_counts_before_xmp() -> None:
    assert [stated(None, b""), stated(3, attribute(6)), stated(None, attribute(6)), stated(17, b"")] == [1, 3, 6, 1]
