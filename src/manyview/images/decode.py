"""Decoding of image files to upright 8-bit RGB pixels, or a short reason why it fails."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from manyview.images.unreadable import UnreadableImage, readable, reasons

# Pillow's readers by signature. Image.open is avoided for two reasons: it applies Pillow's process-wide pixel limit
# instead of ours, and it would try about forty other formats on any file that is named .jpg.
_READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"GIF87a": GifImagePlugin.GifImageFile,
    b"GIF89a": GifImagePlugin.GifImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"II*\x00": TiffImagePlugin.TiffImageFile,
    b"MM\x00*": TiffImagePlugin.TiffImageFile,
    b"II+\x00": TiffImagePlugin.TiffImageFile,
    b"MM\x00+": TiffImagePlugin.TiffImageFile,
}
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
_WIDTH, _HEIGHT, _BITS_PER_SAMPLE, _PHOTOMETRIC = 256, 257, 258, 262  # TIFF tags
_WHITE_IS_ZERO = 0  # a value of the last
ORIENTATION = 0x0112  # tag of EXIF and TIFF
_TRANSPOSED = 5  # orientations from here on exchange width and height


class EncodedImage:
    """An image whose header has been read and whose pixels have not been decoded yet.

    Attributes:
        width: in pixels, of the upright image.
        height: in pixels, of the upright image.
    """

    def __init__(self, data: bytes, where: str | None, max_pixels: int) -> None:
        self._data, self._where = data, where
        with reasons(where):
            self._jpeg = _is_common_jpeg(data)
            self._orientation = 1
            if self._jpeg:
                height, width = simplejpeg.decode_jpeg_header(data)[:2]
                if _has_exif(data):
                    self._orientation = orientation(open_with_pillow(data))
            else:
                image = self._image = open_with_pillow(data)
                width, height = image.size
                if isinstance(image, TiffImagePlugin.TiffImageFile):  # whose size may be that of the upright image
                    width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
                self._orientation = orientation(image)
            if width * height > max_pixels:
                raise UnreadableImage(f"too large: {width} x {height} pixels")
            self._stored = width, height
        self.width, self.height = upright(width, height, self._orientation)

    def decode(self, shrink: int = 1) -> UInt8[np.ndarray, "height width 3"]:
        """Decode the pixels as ``decode_image`` does; may be called once.

        Args:
            shrink: 1, 2, 4 or 8, by which each side is divided, rounded up. A JPEG is decoded at the reduced size, at a
                part of the cost (scaling in the DCT domain); other formats are averaged after decoding, which saves
                memory.

        Returns:
            A new writable array, values 0 to 255.

        Raises:
            UnreadableImage: the source holds no complete image; ``.reason`` says why.
        """
        assert shrink in (1, 2, 4, 8), f"no JPEG can be decoded at 1/{shrink} of its size"
        turn = _TURNS.get(self._orientation)
        if self._jpeg:
            width, height = (-(-side // shrink) for side in self._stored)
            try:
                pixels = simplejpeg.decode_jpeg(self._data, "RGB", min_width=width, min_height=height)
                return pixels if turn is None else turn(pixels)
            except (ValueError, MemoryError):  # an unusual or damaged file, which only Pillow may read
                with reasons(self._where):
                    self._image = open_with_pillow(self._data)
        with reasons(self._where):
            pixels = self._decode_with_pillow(shrink)
            return pixels if turn is None or self._turned else turn(pixels)

    def _decode_with_pillow(self, shrink: int) -> UInt8[np.ndarray, "height width 3"]:
        image = self._image
        if shrink > 1 and isinstance(image, JpegImagePlugin.JpegImageFile):
            # Pillow takes the largest scale that is no smaller than requested, and computes sizes without rounding up.
            image.draft(None, (self._stored[0] // shrink, self._stored[1] // shrink))
            shrink = 1
        image.load()
        # When Pillow loads a TIFF it may rotate the pixels itself; the orientation is then removed.
        self._turned = orientation(image) == 1
        rgb = to_rgb(image)
        return np.array(rgb if shrink == 1 else rgb.reduce(shrink))


def open_rgb(source: bytes | Path, *, max_pixels: int = 200_000_000) -> EncodedImage:
    """Read the header of an image that converts to RGB; see ``manyview.images.open_image``.

    Args:
        source: encoded bytes, or the file that holds them.
        max_pixels: an image with more pixels is refused from its header, before anything is decoded.

    Raises:
        UnreadableImage: the source is no image; ``.reason`` says why.
    """
    data, where = (source, None) if isinstance(source, bytes) else (_read_file(source), str(source))
    return EncodedImage(data, where, max_pixels)


def decode_image(source: bytes | Path, *, max_pixels: int = 200_000_000) -> UInt8[np.ndarray, "height width 3"]:
    """Decode a JPEG, PNG, WebP, BMP, TIFF or GIF (first frame or page) to upright 8-bit RGB.

    - EXIF orientation is applied; a damaged one counts as upright. Color profiles are not applied.
    - Transparent pixels are composited over white, as viewers show them: the color under them is often meaningless.
    - CMYK is converted without a profile; in JPEG its values are inverted, as Adobe and all others write them.
    - 16-bit and 12-bit gray is scaled to 8 bits and rounded (x / 257 for 16 bits). Of 16-bit color Pillow keeps the
      high byte, which is within one level of that.
    - Floating-point gray must lie within 0 to 1, or else within 0 to 255; 32-bit integers within 0 to 65535.

    Args:
        source: encoded bytes, or the file that holds them.
        max_pixels: as for ``open_image``.

    Returns:
        A new writable array, values 0 to 255.

    Raises:
        UnreadableImage: the source holds no complete image; ``.reason`` says why. A truncated file is
            refused even where a decoder could fill the rest with gray.
    """
    return open_rgb(source, max_pixels=max_pixels).decode()


def _is_common_jpeg(data: bytes) -> bool:
    """Whether simplejpeg decodes the colors correctly, which it does not for CMYK."""
    if not data.startswith(b"\xff\xd8\xff"):
        return False
    try:
        return simplejpeg.decode_jpeg_header(data)[2] in ("YCbCr", "RGB", "Gray")
    except ValueError:
        return False


def _has_exif(data: bytes) -> bool:
    """Whether a JPEG has an EXIF segment before its pixels."""
    start = 2
    while data[start : start + 1] == b"\xff" and data[start + 1 : start + 2] != b"\xda":
        if data[start + 1 : start + 2] == b"\xe1" and data[start + 4 : start + 10] == b"Exif\x00\x00":
            return True
        start += 2 + max(int.from_bytes(data[start + 2 : start + 4], "big"), 2)
    return False


def _read_file(path: Path) -> bytes:
    with readable(path):
        return path.read_bytes()


def open_with_pillow(data: bytes) -> ImageFile.ImageFile:
    """Read an encoded file's header with the reader for its first bytes.

    Raises:
        UnreadableImage: unknown format, or a truncated file.
    """
    if not data:
        raise UnreadableImage("empty file")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if len(data) < 8 + int.from_bytes(data[4:8], "little"):  # its reader would return a shorter animation
            raise UnreadableImage("truncated file")
        return WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    for signature, reader in _READERS.items():
        if data.startswith(signature):
            return reader(io.BytesIO(data))
    raise UnreadableImage("not an image of a known format")


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8: 1 for upright, and where it is missing, damaged or unknown."""
    try:
        number = int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF, intact pixels
        return 1
    return number if 1 <= number <= 8 else 1


def upright(width: int, height: int, number: int) -> tuple[int, int]:
    """Width and height of the upright image, from those stored."""
    return (height, width) if number >= _TRANSPOSED else (width, height)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any of Pillow's modes to RGB; the same object if it is RGB already.

    Transparent pixels are composited over white; more than 8 bits are scaled, as ``decode_image`` says.

    Raises:
        UnreadableImage: its colors are in LAB, or its white is unknown.
    """
    if image.mode == "LAB":
        raise UnreadableImage("colors in LAB, which are not supported")
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = _gray_to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _gray_to_8_bits(image: Image.Image) -> Image.Image:
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        top = 1 if high <= 1 else 255
    else:
        top = 4095 if tags.get(_BITS_PER_SAMPLE) == (12,) else 65535
    if not (low >= 0 and high <= top):  # "not", so that NaN is refused too
        raise UnreadableImage(f"pixel values from {low:g} to {high:g}, whose white is unknown")
    shares = values / np.float32(top)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # which Pillow applies to 8 bits only
        shares = 1 - shares
    return Image.fromarray((shares * 255 + 0.5).astype(np.uint8))
