"""The chunks of WebP files (RFC 9649), and whether those of the pixels were written."""

from __future__ import annotations

from collections.abc import Iterator

from manyview.images.unreadable import UnreadableImage

# Bytes of zero in a row that no encoder writes, of lossy and of lossless pixels: what a download or a crash left
# unwritten, which decoders take for pixels, since WebP has no checksums.
_HOLES = {b"VP8 ": bytes(128), b"VP8L": bytes(512)}


def is_webp(data: bytes) -> bool:
    """Whether a file begins like WebP, by its first 12 bytes."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and contents of each chunk."""
    start = 12
    while start + 8 <= len(data):
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        yield data[start : start + 4], data[start + 8 : start + 8 + size]
        start += 8 + size + size % 2


def check_webp(data: bytes) -> None:
    """Check that a file has the length that it states, and no hole in its pixels.

    Raises:
        UnreadableImage: it is shorter, where its reader would return a shorter animation, or has one.
    """
    if len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise UnreadableImage("truncated file")
    if any(name in _HOLES and _HOLES[name] in body for name, body in chunks(data)):
        raise UnreadableImage("damaged file (zeros in place of its data)")
