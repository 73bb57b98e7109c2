"""Images of any number of bands, 8 or 16 bits each: multi-band TIFF, NumPy arrays, and common formats."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from manyview.images.decode import EncodedImage, load, open_rgb, open_with_pillow, read_stream, stored_orientation
from manyview.images.depth import is_deep, require_bit_depth, to_16_bits
from manyview.images.jpeg import JPEG, check_scans, common_header, quick_pixels, whole_jpeg, without_metadata
from manyview.images.png import deep_samples, has_alpha, has_deep_colors
from manyview.images.sources.collection import Member
from manyview.images.sources.opening import open_image_file
from manyview.images.tiff import (
    BITS_PER_SAMPLE,
    SIGNATURES,
    WHITE_IS_ZERO,
    SamplesOfTiff,
    check_complete,
    obstacle,
    page_orientation,
)
from manyview.images.unreadable import UnreadableImage, reasons

Stream = BytesIO | BufferedReader
Values = Shaped[np.ndarray, "height width bands"]  # as stored, but upright and with the bands last
Bands = UInt8[np.ndarray, "height width bands"] | UInt16[np.ndarray, "height width bands"]

_BAND_MODES = ("1", "L", "LA", "RGB", "RGBA", "RGBX", "I;16", "I;16L", "I;16B", "I;16N", "F")


@dataclass(frozen=True)
class BandImage:
    """A decoded multi-band image, with the interface of ``EncodedImage``."""

    pixels: Bands

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.pixels.shape[1]

    def decode(self, shrink: int = 1) -> Bands:
        """The pixels, always at full size: none of these formats decodes faster at a reduced one."""
        return self.pixels


def open_image(
    source: bytes | Path | Member,
    bands: Literal["rgb"] | int = "rgb",
    *,
    max_pixels: int = 200_000_000,
    bit_depth: int | None = None,
) -> EncodedImage | BandImage:
    """Open an image: its size, and by its method ``decode`` its pixels.

    Args:
        source: encoded bytes, or the file or the member of a shard that holds them.
        bands: "rgb" for whatever converts to 8-bit RGB, or the number of bands that the file must hold.
        max_pixels: an image with more pixels is refused before anything is decoded. Of TIFF and WebP read as RGB,
            Pillow also refuses more than twice its own ``Image.MAX_IMAGE_PIXELS`` (179 million together).
        bit_depth: bits that the values of 16-bit files use, 9 to 15, so that 2**bit_depth - 1 is white; unset: all 16.

    Raises:
        UnreadableImage: the source is no such image; ``.reason`` says why.
        UserError: no such ``bit_depth``.
    """
    if bit_depth is not None:
        require_bit_depth(bit_depth)
    if bands == "rgb":
        return open_rgb(source, max_pixels=max_pixels, bit_depth=bit_depth)
    return open_bands(source, bands, max_pixels=max_pixels, bit_depth=bit_depth)


def open_bands(
    source: bytes | Path | Member, bands: int, *, max_pixels: int = 200_000_000, bit_depth: int | None = None
) -> BandImage:
    """Decode an image as ``decode_bands`` does, with the interface of ``open_image``."""
    return BandImage(decode_bands(source, bands, max_pixels=max_pixels, bit_depth=bit_depth))


def decode_bands(
    source: bytes | Path | Member, bands: int, *, max_pixels: int = 200_000_000, bit_depth: int | None = None
) -> Bands:
    """Decode an image with a given number of bands to upright 8-bit or 16-bit pixels.

    - TIFF: samples of a pixel side by side or in planes, or one band a page; tiles or strips, either byte order,
      uncompressed, Deflate, PackBits or LZMA. LZW and others need the package imagecodecs, but for 8-bit files of up to
      four bands. Where the first page holds all bands, it alone counts.
    - ``.npy``: (height, width, bands), (bands, height, width), or (height, width) for one band. Never unpickled.
    - PNG and other formats whose images have exactly that many bands: gray, gray with alpha, RGB, RGB with alpha.

    Unsigned values of 8 and 16 bits stay as they are, so 12 bits stored in 16 stay small numbers unless ``bit_depth``
    says so. Bilevel images become 0 and 255. Floating-point values must lie within 0 to 1 and become 16 bits, rounded.
    All others (signed, 32 bits, floating point beyond 0 to 1) have no defined white and are refused. Where TIFF says
    that 0 is white, values are inverted.

    Args:
        source: encoded bytes, or the file or the member of a shard that holds them.
        bands: number of bands that the image must have, at least 1.
        max_pixels: an image with more pixels is refused from its header, before anything is decoded. An image takes
            at most height x width x bands x 2 bytes in the end, and about three times that while it is decoded.
        bit_depth: bits that the values of 16-bit files use, which are scaled so that 2**bit_depth - 1 is white, as is
            all above; unset: all 16. Only the alpha of a PNG always has 16.

    Returns:
        A new array, uint8 (white is 255) or uint16 (white is 65535); not always contiguous.

    Raises:
        UnreadableImage: the source holds no complete image with these bands; ``.reason`` says why.
    """
    where = None if isinstance(source, bytes) else str(source)
    with reasons(where), opened(source) as stream:
        head = stream.read(8)
        stream.seek(0)
        if head.startswith(b"\x93NUMPY"):
            values = _scaled(_read_npy(stream, bands, max_pixels), bit_depth)
        elif head.startswith(SIGNATURES):
            values = _read_tiff(stream, bands, max_pixels, bit_depth)
        else:
            values = _read_picture(stream, bands, max_pixels, bit_depth)
        return _to_depth(values)


def full_scale(dtype: np.dtype) -> int:
    """The value of white: 255 for uint8, 65535 for uint16."""
    return int(np.iinfo(dtype).max)


def same_depth(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Bring images to one depth so that they can be stacked: 8 bits scaled up (x 257) where there are 16 bits too."""
    if len({image.dtype for image in images}) < 2:
        return list(images)
    return [image * np.uint16(257) if image.dtype == np.uint8 else image for image in images]


@contextlib.contextmanager
def opened(source: bytes | Path | Member) -> Iterator[Stream]:
    """The source as a stream; a file is not read at once, since one that is too large is refused from its header."""
    with BytesIO(source) if isinstance(source, bytes) else open_image_file(source) as stream:
        yield stream


def _read_npy(stream: Stream, bands: int, max_pixels: int) -> Values:
    """Read a ``.npy`` file.

    Raises:
        UnreadableImage: it holds objects, is truncated, or has another shape or an unknown type of numbers.
    """
    shape, columns_first, dtype = _npy_header(stream)
    if dtype.hasobject:
        raise UnreadableImage("pickled objects, which could execute code")
    _check_dtype(dtype)
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


def _read_tiff(stream: Stream, bands: int, max_pixels: int, bit_depth: int | None) -> Values:
    """Read a TIFF file's first page, or all pages where they hold one band each.

    Raises:
        UnreadableImage: another number of bands, or a color model or compression that cannot be read.
    """
    from tifffile import TiffFile

    with TiffFile(stream, is_ome=False) as file:  # OME's description may lead to other files
        page = file.pages.first
        if (reason := obstacle(page)) is None:
            return _tiff_values(file, bands, max_pixels, bit_depth)
        if page.bitspersample != 8 and page.samplesperpixel > 1:  # Pillow would cut its 16 bits down to 8
            raise UnreadableImage(reason)
    stream.seek(0)
    try:
        open_with_pillow(stream.read())
    except Exception:  # Pillow cannot read it either
        raise UnreadableImage(reason) from None
    stream.seek(0)
    return _read_picture(stream, bands, max_pixels, bit_depth)


def _tiff_values(file: Any, bands: int, max_pixels: int, bit_depth: int | None) -> Values:
    page = file.pages.first
    _check_dtype(page.dtype)
    if page.samplesperpixel == bands > 1 and page.axes in ("YXS", "SYX"):
        part, pages, axis = page, [page], page.axes.index("S")
    else:
        part, pages = file.series[0], file.series[0].pages
        axis = _find_bands(part.shape, bands)
    _check_size(part.shape, axis, max_pixels)
    check_complete(file, pages, part)
    # One thread, since the loader's processes already use all cores.
    values = _scaled(np.moveaxis(part.asarray(maxworkers=1).reshape(_three(part.shape)), axis, 2), bit_depth)
    if page.photometric == WHITE_IS_ZERO:
        values = 1 - values if values.dtype.kind == "f" else ~values
    return _upright(values, page_orientation(page))


def _read_picture(stream: Stream, bands: int, max_pixels: int, bit_depth: int | None) -> Values:
    """Read an image in one of the common formats with Pillow.

    Raises:
        UnreadableImage: unknown format, or another number of bands.
    """
    data = read_stream(stream, max_pixels)
    if data.startswith(JPEG):
        check_scans(data)
    image = open_with_pillow(data)
    assert not isinstance(image, SamplesOfTiff), "what tifffile reads is read by it"
    _check_size((image.height, image.width, bands), 2, max_pixels)
    turn = stored_orientation(data, image)
    values, turned = _picture_values(image, data)
    _check_dtype(values.dtype)
    values = values.reshape(_three(values.shape))
    if values.shape[2] != bands:
        raise UnreadableImage(f"{values.shape[2]} bands instead of {bands}")
    if bit_depth is not None and getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,)) == (16,):
        alpha = values[..., -1:] if image.format == "PNG" and has_alpha(data) else values[..., :0]
        values = np.concatenate([_scaled(values[..., : bands - alpha.shape[2]], bit_depth), alpha], axis=2)
    return values if turned else _upright(values, turn)


def _picture_values(image: ImageFile, data: bytes) -> tuple[Shaped[np.ndarray, "height width *bands"], bool]:
    """Values of an image as stored, and whether Pillow has turned them upright."""
    if data.startswith(JPEG):
        header = common_header(data)
        if header and (pixels := quick_pixels(data, header, gray=True)) is not None:
            return pixels, False
        image = JpegImageFile(BytesIO(without_metadata(whole_jpeg(data))))
    turned = load(image, data)
    if image.format == "PNG" and has_deep_colors(data):
        return deep_samples(data), turned
    if image.mode in ("P", "PA"):
        return np.array(image.convert("RGBA" if image.has_transparency_data else "RGB")), turned
    if image.mode not in _BAND_MODES:
        raise UnreadableImage(f"the color model {image.mode}, whose channels are no bands")
    return np.array(image), turned


def _scaled(values: Values, bit_depth: int | None) -> Values:
    """Values of 16 bits that use so many of them, scaled to all; others unchanged."""
    return values if bit_depth is None or not is_deep(values.dtype) else to_16_bits(values, bit_depth)


def _check_dtype(dtype: np.dtype) -> None:
    """Refuse types whose value of white is unknown.

    Raises:
        UnreadableImage: neither boolean, unsigned with 8 or 16 bits, nor floating-point.
    """
    if dtype.kind not in "buf" or (dtype.kind == "u" and dtype.itemsize > 2):
        raise UnreadableImage(f"values of type {dtype.name}, whose white is unknown")


def _three(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with three axes, if axes of length 1 can be removed, or added at its end."""
    shape = (*shape, 1) if len(shape) == 2 else shape
    while len(shape) > 3 and 1 in shape:
        axis = shape.index(1)
        shape = shape[:axis] + shape[axis + 1 :]
    return shape


def _find_bands(shape: tuple[int, ...], bands: int) -> int:
    """The axis of the bands: the last of three, or the first."""
    three = _three(shape)
    axes = [axis for axis in (2, 0) if len(three) == 3 and three[axis] == bands]
    found = " x ".join(map(str, shape))
    if not axes:
        raise UnreadableImage(f"shape {found}, which has no axis of {bands} bands")
    if len(axes) == 2 and bands > 1:
        raise UnreadableImage(f"shape {found}, in which either end may be the {bands} bands")
    return axes[0]


def _check_size(shape: tuple[int, ...], axis: int, max_pixels: int) -> None:
    three = list(_three(shape))
    del three[axis]
    height, width = three
    if height * width == 0:
        raise UnreadableImage("no pixels")
    if height * width > max_pixels:
        raise UnreadableImage(f"too large: {width} x {height} pixels")


def _upright(values: Values, turn: int) -> Shaped[np.ndarray, "rows columns bands"]:
    """Apply the orientation given by EXIF or by TIFF itself."""
    if turn in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if turn in (2, 3, 6, 7):
        values = values[:, ::-1]
    if turn in (3, 4, 7, 8):
        values = values[::-1]
    return values


def _to_depth(values: Values) -> Bands:
    """Values of a type that ``_check_dtype`` accepts, as 8 or 16 bits in this machine's byte order."""
    if values.dtype == bool:
        return values * np.uint8(255)
    if values.dtype.kind == "f":
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 1):  # "not", so that NaN is refused too
            raise UnreadableImage(f"floating-point values from {low:g} to {high:g}, not within 0 to 1")
        return (values * np.float32(65535) + np.float32(0.5)).astype(np.uint16)
    return values.astype(values.dtype.newbyteorder("="), copy=False)
