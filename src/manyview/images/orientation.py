"""Orientation of the stored pixels, one rule for all formats: what EXIF states, else what XMP states, else upright."""

from __future__ import annotations

import re

from PIL import Image

from manyview.images.jpeg import JPEG, segments
from manyview.images.png import PNG, ancillary
from manyview.images.webp import chunks, is_webp

ORIENTATION = 0x0112  # tag of EXIF and TIFF
XMP = 700  # tag of TIFF
_MOST_EXIF = 16 * 2**20  # bytes of a JPEG's segments of EXIF together; what follows is left out
_TRANSPOSED = 5  # orientations from here on exchange width and height
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXIF = b"Exif\0\0"
_GIF_XMP = b"XMP DataXMP"  # identifier of its application extension
# As an attribute or an element of RDF; the namespace of TIFF's properties is written with this prefix everywhere.
_IN_XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])\s*[\"'<]")


def orientation(data: bytes) -> int:
    """Orientation of an encoded JPEG, PNG, WebP or GIF, 1 to 8: 1 for upright, and where none is stated.

    EXIF's counts first (also as PNG's older text chunk "Raw profile type exif"), then XMP's, as the Metadata Working
    Group's guidelines rank them. One that is damaged or no number from 1 to 8 counts as none stated.

    Raises:
        UnreadableImage: the file ends within its metadata.
    """
    exif, xmp = _metadata(data)
    return stated(_in_exif(exif), xmp)


def tiff_orientation(tag: object, xmp: object) -> int:
    """Orientation of a TIFF by the same rule, from the values of its tags 274 and 700 (None where missing)."""
    return stated(tag, bytes(xmp) if isinstance(xmp, (bytes, tuple)) else b"")


def stated(exif: object, xmp: bytes) -> int:
    """The orientation by EXIF's number and the XMP packet."""
    if isinstance(exif, int) and 1 <= exif <= 8:
        return exif
    found = _IN_XMP.search(xmp.replace(b"\0", b""))  # which makes ASCII of UTF-16 and UTF-32
    return int(found[1]) if found else 1


def upright(width: int, height: int, number: int) -> tuple[int, int]:
    """Width and height of the upright image, from those stored."""
    return (height, width) if number >= _TRANSPOSED else (width, height)


def _metadata(data: bytes) -> tuple[bytes, bytes]:
    """EXIF (in TIFF's format, with or without its prefix) and the XMP packet; empty where there is none."""
    if data.startswith(JPEG):
        return _jpeg_metadata(data)
    if data.startswith(PNG):
        return ancillary(data)
    exif = xmp = b""
    if is_webp(data):
        for name, body in chunks(data):
            exif = body if name == b"EXIF" else exif
            xmp = body if name == b"XMP " else xmp
    elif data.startswith(b"GIF8") and (start := data.find(_GIF_XMP)) > 0:
        xmp = data[start:]
    return exif, xmp


def _jpeg_metadata(data: bytes) -> tuple[bytes, bytes]:
    exif, xmp = bytearray(), b""
    for marker, start, end in segments(data):
        if marker == 0xE1 and data.startswith(_EXIF, start) and len(exif) < _MOST_EXIF:
            exif += data[start + len(_EXIF) : end]  # more than 64 KiB are continued in the next segment
        elif marker == 0xE1 and data.startswith(_JPEG_XMP, start):
            xmp = xmp or data[start:end]
    return bytes(exif), xmp


def _in_exif(data: bytes) -> int | None:
    """The number that EXIF gives, None where there is none or EXIF is damaged."""
    if not data:
        return None
    try:
        exif = Image.Exif()
        exif.load(data)
        return int(exif[ORIENTATION])
    except Exception:  # intact pixels all the same
        return None
