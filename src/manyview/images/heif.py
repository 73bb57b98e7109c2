"""AVIF and HEIC, the image formats of the container of ISO/IEC 23008-12, by the decoders that are installed."""

from __future__ import annotations

import io

from PIL import ImageFile, features

from manyview.images.formats import HEIF_EXTRA
from manyview.images.orientation import ORIENTATION
from manyview.images.unreadable import UnreadableImage

_AVIF = frozenset({b"avif", b"avis"})
# Still images in HEVC, and "mif1", which files of other coders have, too, but with their own brand beside it.
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_ZEROS = 32  # bytes; neither HEVC nor AV1 codes anything in as many


def open_heif(data: bytes) -> ImageFile.ImageFile | None:
    """Read the header of an AVIF or HEIC file; None if it is neither.

    Raises:
        UnreadableImage: the decoder of this format is not installed, or the pixels' data end in zeros: a file that
            was never written to its end, which decoders take.
    """
    brands = _brands(data)
    if brands & (_AVIF | _HEIC):
        _check_whole(data)
    if brands & _AVIF:
        if not features.check("avif"):
            raise UnreadableImage("AVIF, which Pillow 11.3 or newer reads")
        from PIL import AvifImagePlugin

        return AvifImagePlugin.AvifImageFile(io.BytesIO(data))
    if brands & _HEIC:
        try:
            from pillow_heif import HeifImageFile
        except ImportError:
            raise UnreadableImage(f"HEIC, which {HEIF_EXTRA} reads") from None
        image: ImageFile.ImageFile = HeifImageFile(io.BytesIO(data))
        return image
    return None


def is_heif(head: bytes) -> bool:
    """Whether a file begins like AVIF or HEIC, by its first 256 bytes."""
    return bool(_brands(head) & (_AVIF | _HEIC))


def avif_orientation(image: ImageFile.ImageFile) -> int:
    """Orientation of an AVIF, 1 to 8: that of its container, which counts, not EXIF, and which Pillow states as EXIF.

    That of HEIC needs none, as libheif applies it.
    """
    return int(image.getexif().get(ORIENTATION, 1))


def _check_whole(data: bytes) -> None:
    start = 0
    while start + 8 <= len(data):
        size, name = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        end = min(start + size, len(data)) if size >= 8 else len(data)
        if name == bytes(4) or (name == b"mdat" and not any(data[max(end - _ZEROS, start + 8) : end])):
            raise UnreadableImage("truncated file: its data end in zeros")
        start = end


def _brands(data: bytes) -> frozenset[bytes]:
    """Major and compatible brands of the container."""
    if data[4:8] != b"ftyp":
        return frozenset()
    length = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return frozenset(data[start : start + 4] for start in (8, *range(16, length - 3, 4)))
