"""Decoding of image files to upright 8-bit RGB pixels, or a short reason why it fails."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import cv2
import numpy as np
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

from manyview.images.depth import to_8_bits, without_alpha
from manyview.images.heif import avif_orientation, is_heif, open_heif
from manyview.images.jpeg import JPEG, check_scans, common_header, quick_pixels, whole_jpeg, without_metadata
from manyview.images.orientation import ORIENTATION, XMP, orientation, tiff_orientation, upright
from manyview.images.png import PNG, check_rows, deep_samples, has_deep_colors, is_deep_png, pixel_chunks
from manyview.images.sources.collection import Member
from manyview.images.sources.opening import opened
from manyview.images.tiff import (
    BITS_PER_SAMPLE,
    HEIGHT,
    PHOTOMETRIC,
    SIGNATURES,
    WHITE_IS_ZERO,
    WIDTH,
    SamplesOfTiff,
    open_tiff,
)
from manyview.images.unreadable import UnreadableImage, reasons
from manyview.images.webp import check_webp, is_webp

# Pillow's readers by signature. Image.open is avoided for two reasons: it applies Pillow's process-wide pixel limit
# instead of ours, and it would try about forty other formats on any file that is named .jpg.
_READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    JPEG: JpegImagePlugin.JpegImageFile,
    b"GIF87a": GifImagePlugin.GifImageFile,
    b"GIF89a": GifImagePlugin.GifImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
}
_LARGE = 2**26  # bytes from which a file is read only if it begins like an image
_HEAD = 256  # bytes by which a format is recognized
_MOST_BYTES = 32  # of a pixel, as four samples in double precision take
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
Opened = ImageFile.ImageFile | SamplesOfTiff
"""A file whose header has been read, by the reader that decodes its pixels rightly."""


class EncodedImage:
    """An image whose header has been read and whose pixels have not been decoded yet.

    Attributes:
        width: in pixels, of the upright image.
        height: in pixels, of the upright image.
    """

    def __init__(self, data: bytes, where: str | None, max_pixels: int, bit_depth: int | None = None) -> None:
        self._data, self._where, self._bit_depth = data, where, bit_depth
        with reasons(where):
            # One of these two is None: the header of a JPEG that simplejpeg may decode, and that of any other file.
            if data.startswith(JPEG):
                check_scans(data)
            self._jpeg = common_header(data) if data.startswith(JPEG) else None
            self._image = None if self._jpeg else open_with_pillow(data, all_levels=bit_depth is not None)
            self._stored = width, height = self._jpeg[:2] if self._jpeg else stored_size(cast(Opened, self._image))
            if min(width, height) < 1:
                raise UnreadableImage("no pixels")
            if width * height > max_pixels:
                raise UnreadableImage(f"too large: {width} x {height} pixels")
            self._orientation = stored_orientation(data, self._image)
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
        if self._jpeg and (decoded := quick_pixels(self._data, self._jpeg, shrink)) is not None:
            return decoded if turn is None else turn(decoded)
        with reasons(self._where):
            pixels, turned = self._decode_with_pillow(shrink)
            return pixels if turn is None or turned else turn(pixels)

    def _decode_with_pillow(self, shrink: int) -> tuple[UInt8[np.ndarray, "height width 3"], bool]:
        """Decode what is unusual; also whether the pixels are upright already."""
        image = self._image
        if isinstance(image, SamplesOfTiff):
            rgb, turned = to_rgb(image.decode(self._bit_depth)), False
        else:
            if image is None or isinstance(image, JpegImagePlugin.JpegImageFile):
                image = JpegImagePlugin.JpegImageFile(io.BytesIO(without_metadata(whole_jpeg(self._data))))
                if shrink > 1:  # Pillow takes the largest scale no smaller than requested, and does not round sizes up
                    image.draft(None, (max(1, self._stored[0] // shrink), max(1, self._stored[1] // shrink)))
                    shrink = 1
            turned = load(image, self._data)
            rgb = to_rgb(image if self._bit_depth is None else _all_levels(image, self._data, self._bit_depth))
        return np.array(rgb if shrink == 1 else rgb.reduce(shrink)), turned


def open_rgb(
    source: bytes | Path | Member, *, max_pixels: int = 200_000_000, bit_depth: int | None = None
) -> EncodedImage:
    """Read the header of an image that converts to RGB; see ``manyview.images.open_image``.

    Args:
        source: encoded bytes, or the file or the member of a shard that holds them.
        max_pixels: an image with more pixels is refused from its header, before anything is decoded.
        bit_depth: as for ``decode_image``.

    Raises:
        UnreadableImage: the source is no image; ``.reason`` says why.
    """
    data, where = (source, None) if isinstance(source, bytes) else (read_file(source, max_pixels), str(source))
    return EncodedImage(data, where, max_pixels, bit_depth)


def decode_image(
    source: bytes | Path | Member, *, max_pixels: int = 200_000_000, bit_depth: int | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """Decode a JPEG, PNG, WebP, BMP, TIFF or GIF (first frame or page) to upright 8-bit RGB.

    - Orientation is applied, by one rule for all formats: EXIF's (a TIFF's own tag), else XMP's; a damaged one counts
      as upright. Color profiles are not applied.
    - Transparent pixels are composited over white, as viewers show them: the color under them is often meaningless.
    - CMYK is converted without a profile; in JPEG its values are inverted, as Adobe and all others write them.
    - 16-bit and 12-bit gray is scaled to 8 bits and rounded (x / 257 for 16 bits). Of 16-bit color the high byte
      counts, which is within one level of that.
    - Floating-point values must lie within 0 to 1, or else within 0 to 255; 32-bit integers within 0 to 65535.
    - TIFFs of few layouts (gray with alpha in 16 bits or in planes, RGB in floating point, inverted 16-bit gray in
      big-endian order) need imagecodecs where they are compressed otherwise than with Deflate, PackBits or LZMA.

    Args:
        source: encoded bytes, or the file or the member of a shard that holds them.
        max_pixels: as for ``open_image``.
        bit_depth: bits that the values of 16-bit files use, 9 to 15; unset: all 16. Gray and colors are scaled so that
            2**bit_depth - 1 is white, rounded, and what is above is white, too; alpha always has 16 bits.

    Returns:
        A new writable array, values 0 to 255.

    Raises:
        UnreadableImage: the source holds no complete image; ``.reason`` says why. What counts is whether all pixels'
            data are there: a JPEG or PNG that lacks only the marker of its end is taken, one whose missing pixels a
            decoder would fill with gray or black is refused however it ends.
    """
    return open_rgb(source, max_pixels=max_pixels, bit_depth=bit_depth).decode()


def read_file(path: Path | Member, max_pixels: int = 200_000_000) -> bytes:
    """The bytes of a regular file, or of a member of a shard; of a large one only where it begins like an image.

    Raises:
        UnreadableImage: it cannot be read, or is larger than an image of so many pixels; ``.reason`` says why.
    """
    with opened(path) as stream:
        return read_stream(stream, max_pixels)


def read_stream(stream: io.BytesIO | io.BufferedReader, max_pixels: int) -> bytes:
    """The bytes of a file that is open at its beginning, as ``read_file`` reads them."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if size > _LARGE:
        if not _known(stream.read(_HEAD)):
            raise UnreadableImage("not an image of a known format")
        if size > _LARGE + _MOST_BYTES * max_pixels:
            raise UnreadableImage(f"too large: {size:,} bytes")
        stream.seek(0)
    return stream.read()


def _known(head: bytes) -> bool:
    """Whether a file begins like one of a format that ``open_with_pillow`` reads."""
    return head.startswith((*_READERS, *SIGNATURES, PNG)) or is_webp(head) or is_heif(head)


def open_with_pillow(data: bytes, *, all_levels: bool = False) -> Opened:
    """Read an encoded file's header with the reader for its first bytes.

    Args:
        data: the file.
        all_levels: whether all values of a TIFF's 16-bit colors are wanted, as for ``open_tiff``.

    Raises:
        UnreadableImage: unknown format, or a truncated file.
    """
    if not data:
        raise UnreadableImage("empty file")
    if is_webp(data):
        check_webp(data)
        return WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    if data.startswith(SIGNATURES):
        return open_tiff(data, all_levels=all_levels)
    if data.startswith(PNG):
        return PngImagePlugin.PngImageFile(io.BytesIO(pixel_chunks(data)))
    if (heif := open_heif(data)) is not None:
        return heif
    for signature, reader in _READERS.items():
        if data.startswith(signature):
            return reader(io.BytesIO(without_metadata(data) if signature == JPEG else data))
    raise UnreadableImage("not an image of a known format")


def stored_size(image: Opened) -> tuple[int, int]:
    """Width and height of the pixels as stored."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # whose size may be that of the upright image
        return image.tag_v2[WIDTH], image.tag_v2[HEIGHT]
    return image.size


def stored_orientation(data: bytes, image: Opened | None) -> int:
    """Orientation of an encoded file, 1 to 8, by one rule for all formats; see ``images.orientation``.

    Args:
        data: the file.
        image: its header, of which only that of a TIFF or AVIF is needed; not loaded yet.
    """
    if isinstance(image, SamplesOfTiff):
        return image.orientation
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return tiff_orientation(image.tag_v2.get(ORIENTATION), image.tag_v2.get(XMP))
    if image is not None and image.format == "AVIF":
        return avif_orientation(image)
    return orientation(data)


def load(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Load the pixels.

    Args:
        image: header of the file.
        data: the file.

    Returns:
        Whether they are upright: Pillow rotates those of a TIFF itself, and then removes the orientation.

    Raises:
        UnreadableImage: not all pixels of a PNG are there; also other exceptions where it is damaged.
    """
    before = _pillows_orientation(image) if isinstance(image, TiffImagePlugin.TiffImageFile) else 1
    image.load()
    if isinstance(image, PngImagePlugin.PngImageFile):
        check_rows(data, image)
    return before != _pillows_orientation(image) if before in _TURNS else False


def _pillows_orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF, intact pixels
        return 1


def _all_levels(image: Image.Image, data: bytes, bit_depth: int) -> Image.Image:
    """A loaded image of 16 bits as one of 8 bits, whose values used so many bits; any other unchanged."""
    deep_png = image.format == "PNG" and is_deep_png(data)
    if deep_png and has_deep_colors(data):
        values = deep_samples(data)
        colors = to_8_bits(without_alpha(values), bit_depth=bit_depth)
        alpha = [to_8_bits(values[..., -1:])] if values.shape[2] in (2, 4) else []
        return Image.fromarray(np.concatenate([np.broadcast_to(colors, (*colors.shape[:2], 3)), *alpha], axis=2))
    if deep_png or getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE) == (16,):
        return _gray_to_8_bits(image, bit_depth)
    return image


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


def _gray_to_8_bits(image: Image.Image, bit_depth: int | None = None) -> Image.Image:
    tags = getattr(image, "tag_v2", {})
    bits = 12 if tags.get(BITS_PER_SAMPLE) == (12,) else 16
    values = np.asarray(image)
    if bit_depth is not None and values.dtype == np.int32:  # as which Pillow gives signed values of 16 bits
        values = values.astype(np.int16)
    # Pillow applies it to 8 bits only.
    inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    return Image.fromarray(to_8_bits(values, bits=bits, inverted=inverted, bit_depth=bit_depth))
