"""TIFF files as RGB: Pillow's reader where it reads the samples rightly, and tifffile's for the others."""

from __future__ import annotations

import io
import logging
import lzma
import math
import threading
import zlib
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image, ImagePalette, TiffImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from manyview.images.depth import Samples, is_deep, to_8_bits
from manyview.images.orientation import ORIENTATION, XMP, tiff_orientation
from manyview.images.unreadable import UnreadableImage

# tifffile logs remarks on unusual metadata, which do not matter where the pixels are intact.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_BIG_IN_BIG_ENDIAN = b"MM\0+"
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", _BIG_IN_BIG_ENDIAN)
WHITE_IS_ZERO = 0  # photometric interpretations
_BLACK_IS_ZERO, _RGB, _YCBCR = 1, 2, 6
_PLAIN = (WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, 34892)  # also linear raw
WIDTH, HEIGHT, BITS_PER_SAMPLE, PHOTOMETRIC = 256, 257, 258, 262  # tags
_PLANAR, _COLOR_MAP, _SAMPLE_FORMAT = 284, 320, 339
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_IN_PLANES = 2  # a value of the planar configuration
_SIGNED = 2  # a sample format
_ASSOCIATED, _UNASSOCIATED = 1, 2  # extra samples: alpha, by which the colors have been multiplied or not
# Raw modes of Pillow that name a byte order, by that of this machine, in which libtiff returns the samples.
_NATIVE = {
    **dict.fromkeys(("I;16S", "I;16BS"), "I;16NS"),
    **dict.fromkeys(("I;32S", "I;32BS"), "I;32NS"),
    **dict.fromkeys(("F;32F", "F;32BF"), "F;32NF"),
}
_LARGEST_TILE = 2**24  # pixels of a tile of any image
_LZMA = 34925  # a compression
_MOST_RATIO = {8: 1032, 32946: 1032, 50013: 1032, _LZMA: 2**13}  # by which compressions shrink data at most
_SIDE = 2**12  # pixels by which a tile may be longer than its image
_AT_ONCE = 2**20  # bytes decompressed together
_libtiff_lock = threading.Lock()


class SamplesOfTiff:
    """A TIFF (TIFF 6.0, BigTIFF) that only tifffile reads: gray or RGB, with or without alpha, of any type of numbers.

    Raises:
        UnreadableImage: other bands, or a color model or compression that tifffile does not read; also its exceptions
            where the file is damaged.

    Attributes:
        size: width and height as stored.
        colors: samples of a pixel but for alpha, 1 or 3.
        orientation: of the pixels as stored, 1 to 8.
    """

    def __init__(self, data: bytes) -> None:
        from tifffile import TiffFile

        with TiffFile(io.BytesIO(data), is_ome=False) as file:
            page: Any = file.pages.first
            self.size: tuple[int, int] = (page.imagewidth, page.imagelength)
            self.orientation = page_orientation(page)
            self._alpha = int(page.extrasamples[0]) if page.extrasamples else 0
            self._inverted = page.photometric == WHITE_IS_ZERO
            self.colors = 3 if page.photometric == _RGB else 1
            extra = page.samplesperpixel - self.colors
            if page.photometric not in _PLAIN[:3] or extra != len(page.extrasamples) or extra > 1:
                raise UnreadableImage("bands other than RGB, for which data.bands must say how many")
            if (reason := obstacle(page)) is not None:
                raise UnreadableImage(reason)
        self._data = data

    def decode(self, bit_depth: int | None = None) -> Image.Image:
        """The pixels in a mode of Pillow with 8 bits a channel, as stored; see ``to_8_bits``."""
        values = self.samples()
        colors = to_8_bits(values[..., : self.colors], inverted=self._inverted, bit_depth=bit_depth)
        if self._alpha not in (_ASSOCIATED, _UNASSOCIATED):
            return Image.fromarray(np.broadcast_to(colors, (*colors.shape[:2], 3)).copy())
        alpha = to_8_bits(values[..., -1:])
        pixels = np.concatenate([np.broadcast_to(colors, (*colors.shape[:2], 3)), alpha], axis=2)
        mode = "RGBA" if self._alpha == _UNASSOCIATED else "RGBa"
        return Image.frombytes(mode, self.size, pixels.tobytes())

    def samples(self) -> Samples:
        """The values as stored, (height, width, samples)."""
        from tifffile import TiffFile

        with TiffFile(io.BytesIO(self._data), is_ome=False) as file:
            page: Any = file.pages.first
            check_complete(file, [page])
            values = page.asarray(maxworkers=1)
            if page.axes == "SYX":
                values = np.moveaxis(values, 0, 2)
        return values.reshape(*values.shape[:2], -1)


def open_tiff(data: bytes, *, all_levels: bool = False) -> TiffImageFile | SamplesOfTiff:
    """Read the header of a TIFF, with a reader that decodes its pixels rightly.

    - Uncompressed samples in planes go to libtiff. Pillow's own decoder takes the letters of a raw mode for the planes,
      8 bits each, also where they have 16 bits, and where the only plane has 1, 2, 4, 12 or 16.
    - So does uncompressed YCbCr, whose two color channels are usually stored at half the size.
    - What has no mode in Pillow goes to tifffile, and so do gray with alpha in planes, whose alpha Pillow loses, and
      BigTIFF in big-endian order, which Pillow takes for the classic format.

    Args:
        data: the file.
        all_levels: whether all values of 16-bit colors count, of which Pillow keeps the high byte.

    Raises:
        UnreadableImage: no reader does; also other exceptions where it is damaged.
    """
    if data.startswith(_BIG_IN_BIG_ENDIAN):
        return SamplesOfTiff(data)
    try:
        image = TiffImageFile(io.BytesIO(data))
    except SyntaxError as error:
        if str(error) == "unknown pixel mode":
            return SamplesOfTiff(data)
        if not isinstance(error.__cause__, IndexError):  # more planes than letters
            raise
        image = _for_libtiff(data)
    tags = image.tag_v2
    _check_tiles((tags.get(_TILE_WIDTH), tags.get(_TILE_HEIGHT)), (tags.get(WIDTH), tags.get(HEIGHT)))
    if image.mode == "L" and tags.get(_SAMPLE_FORMAT) == (_SIGNED,):  # Pillow takes negative values for bright
        raise UnreadableImage("signed values of 8 bits, whose white is unknown")
    in_planes = tags.get(_PLANAR) == _IN_PLANES
    if (in_planes and image.mode in ("LA", "La", "PA")) or (all_levels and _has_deep_colors(image)):
        return SamplesOfTiff(data)
    if in_planes or tags.get(PHOTOMETRIC) == _YCBCR:
        image = _for_libtiff(data)
    return _correct(image)


def is_deep_tiff(stream: BinaryIO) -> bool:
    """Whether the first page of a TIFF has integers of 16 bits."""
    from tifffile import TiffFile

    with TiffFile(stream, is_ome=False) as file:
        page: Any = file.pages.first
        return page.dtype is not None and is_deep(page.dtype) and page.bitspersample == 16


def _has_deep_colors(image: TiffImageFile) -> bool:
    """Whether a pixel has several samples of 16 bits, in gray or RGB."""
    bits = image.tag_v2.get(BITS_PER_SAMPLE, ())
    return len(bits) > 1 and set(bits) == {16} and image.tag_v2.get(PHOTOMETRIC) in _PLAIN


def _for_libtiff(data: bytes) -> TiffImageFile:
    """Open a TIFF so that libtiff decodes it even where it is not compressed."""
    with _libtiff_lock:
        before, TiffImagePlugin.READ_LIBTIFF = TiffImagePlugin.READ_LIBTIFF, True
        try:
            return TiffImageFile(io.BytesIO(data))
        finally:
            TiffImagePlugin.READ_LIBTIFF = before


def _correct(image: TiffImageFile) -> TiffImageFile:
    """Correct the byte order of values from libtiff, and palettes of 8-bit colors.

    Pillow swaps the bytes of signed and floating-point values that libtiff has swapped already, and takes the high byte
    of all colors of a palette; libtiff knows palettes of 8-bit colors by having no higher value.
    """
    if image.tile and image.tile[0].codec_name == "libtiff":
        mode, *rest = cast(tuple[Any, ...], image.tile[0].args)
        image.tile = [image.tile[0]._replace(args=(_NATIVE.get(mode, mode), *rest))]
    if image.mode in ("P", "PA") and max(colors := image.tag_v2[_COLOR_MAP]) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(colors))
    return image


def page_orientation(page: Any) -> int:
    """Orientation of a page's stored pixels, 1 to 8, by the one rule of ``images.orientation``."""
    tags = [page.tags.get(tag) for tag in (ORIENTATION, XMP)]
    return tiff_orientation(*(None if tag is None else tag.value for tag in tags))


def obstacle(page: Any) -> str | None:
    """Why tifffile cannot read a page's pixels; None where it can."""
    from tifffile import TIFF

    if page.photometric not in _PLAIN:
        return f"the color model {getattr(page.photometric, 'name', page.photometric)}, whose channels are no bands"
    if page.compression not in TIFF.DECOMPRESSORS or page.predictor not in TIFF.UNPREDICTORS:
        name = getattr(page.compression, "name", page.compression)
        return f"TIFF compression {name}, which needs the package imagecodecs"
    if page.dtype is None or page.bitspersample not in (1, 8, 16, 32, 64):
        return f"{page.bitspersample} bits a value"
    return None


def check_complete(file: Any, pages: Any, part: Any = None) -> None:
    """Check that all strips and tiles of pages lie within the file, beyond which tifffile reads zeros.

    Raises:
        UnreadableImage: some do not, or tiles are much larger than their image.
    """
    for page in dict.fromkeys(page.keyframe for page in pages if page and page.keyframe.is_tiled):
        _check_tiles((page.tilewidth, page.tilelength), (page.imagewidth, page.imagelength))
    pieces = [piece for page in pages if page for piece in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if getattr(part, "dataoffset", None) is not None:  # all pages in one piece, whatever their directories say
        pieces.append((part.dataoffset, part.nbytes))
    if any(offset + count > file.filehandle.size for offset, count in pieces):
        raise UnreadableImage("truncated file")
    for page in pages:
        if page:
            _check_inflated(file, page)


def _check_inflated(file: Any, page: Any) -> None:
    """Refuse strips and tiles that decompress to far more than their pixels, as tifffile sets no limit.

    Only those that could are decompressed for that.
    """
    ratio = _MOST_RATIO.get(int(page.compression))
    if ratio is None:
        return
    wide, high = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    samples = page.samplesperpixel if page.planarconfig != _IN_PLANES else 1
    most = _LARGEST_TILE + 4 * wide * min(high, page.imagelength + _SIDE) * samples * -(-page.bitspersample // 8)
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        if count * ratio > most:
            file.filehandle.seek(offset)
            if _inflates_beyond(file.filehandle.read(count), page.compression == _LZMA, most):
                raise UnreadableImage("damaged file (compressed data of far more than its pixels)")


def _inflates_beyond(data: bytes, by_lzma: bool, most: int) -> bool:
    """Whether data decompress to more than so many bytes."""
    found = 0
    if by_lzma:
        lzma_inflater = lzma.LZMADecompressor()
        while found <= most and not lzma_inflater.eof and (data or not lzma_inflater.needs_input):
            found += len(lzma_inflater.decompress(data, _AT_ONCE))
            data = b""
    else:
        inflater = zlib.decompressobj()
        while found <= most and data and not inflater.eof:
            found += len(inflater.decompress(data, _AT_ONCE))
            data = inflater.unconsumed_tail
    return found > most


def _check_tiles(tile: tuple[Any, Any], size: tuple[Any, Any]) -> None:
    """Refuse tiles much larger than their image, as readers take memory for a whole one.

    Args:
        tile: width and height of a tile; None of an image in strips.
        size: width and height of the image.
    """
    if all(isinstance(side, int) for side in (*tile, *size)) and math.prod(tile) > max(
        _LARGEST_TILE, 4 * math.prod(size)
    ):
        raise UnreadableImage(f"damaged file (tiles of {tile[0]} x {tile[1]} pixels)")
