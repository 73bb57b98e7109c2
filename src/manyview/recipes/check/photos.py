"""Each image once: whether it can be read, its format, size, channels and depth, and a small gray version of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL.TiffImagePlugin import TiffImageFile

from manyview.config.schema import DataConfig
from manyview.images import ImageFiles, UnreadableImage, open_image
from manyview.images.decode import open_with_pillow, read_file
from manyview.images.jpeg import JPEG, common_header
from manyview.images.png import PNG
from manyview.images.sources.opening import read_whole
from manyview.images.sources.root import ImagePath
from manyview.images.tiff import BITS_PER_SAMPLE, SamplesOfTiff
from manyview.images.unreadable import quiet

SIDE = 32  # pixels of the small version
_ENOUGH = 64  # pixels of the shorter side that an image is decoded with
_NUMPY = b"\x93NUMPY"
_CHANNELS = {
    **{"1": "gray", "L": "gray", "I": "gray", "F": "gray", "LA": "gray with alpha", "La": "gray with alpha"},
    **{"P": "palette", "PA": "palette", "RGB": "RGB", "RGBX": "RGB", "YCbCr": "RGB"},
    **{"RGBA": "RGB with alpha", "RGBa": "RGB with alpha", "CMYK": "CMYK"},
}

Small = UInt8[np.ndarray, "32 32"]


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """What an image is.

    Attributes:
        index: of the image.
        width: in pixels, upright.
        height: in pixels, upright.
        format: such as "JPEG".
        channels: such as "gray".
        bits: of a value of a channel.
        small: the whole image in gray, with any aspect.
    """

    index: int
    width: int
    height: int
    format: str
    channels: str
    bits: int
    small: Small


@dataclass(frozen=True, slots=True)
class Unread:
    """An image that cannot be read, and why."""

    index: int
    reason: str


def look_at(
    files: ImageFiles, indices: Sequence[int], data: DataConfig, threads: int, progress: Callable[[int, int], None]
) -> tuple[list[Photo], list[Unread]]:
    """Read and decode images, as a run would.

    Args:
        files: the images.
        indices: of those to read.
        data: how a run reads them.
        threads: images decoded at a time.
        progress: called with the number of images done and the total.
    """
    photos: list[Photo] = []
    unread: list[Unread] = []
    with ThreadPoolExecutor(threads) as pool:
        for done, found in enumerate(pool.map(lambda index: _look(files.path(index), index, data), indices)):
            progress(done, len(indices))
            if isinstance(found, Photo):
                photos.append(found)
            else:
                unread.append(found)
    progress(len(indices), len(indices))
    return photos, unread


def _look(path: ImagePath, index: int, data: DataConfig) -> Photo | Unread:
    try:
        content = read_file(path, data.max_pixels) if data.bands == "rgb" else read_whole(path)
        opened = open_image(content, data.bands, max_pixels=data.max_pixels, bit_depth=data.bit_depth)
        shrink = next((each for each in (8, 4, 2) if min(opened.width, opened.height) // each >= _ENOUGH), 1)
        pixels = opened.decode(shrink)
        with quiet():
            about = _described(content, pixels)
        return Photo(index, opened.width, opened.height, *about, _small(pixels))
    except UnreadableImage as error:
        return Unread(index, error.reason)


def _small(pixels: np.ndarray) -> Small:
    """A small gray version; bands are averaged, 16 bits scaled to 8."""
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.shape[2] == 3 else pixels.mean(axis=2).astype(np.float32)
    small = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return (small / (257 if pixels.dtype == np.uint16 else 1)).astype(np.uint8)


def _described(content: bytes, pixels: np.ndarray) -> tuple[str, str, int]:
    """Format, channels and bits of a readable file."""
    if content.startswith(_NUMPY):
        return "NumPy", _bands(pixels), 8 * pixels.itemsize
    if content.startswith(JPEG):
        header = common_header(content)
        return "JPEG", "CMYK" if header is None else "gray" if header.colors == "Gray" else "RGB", 8
    try:
        image = open_with_pillow(content)
    except Exception:  # more bands than Pillow reads
        return "TIFF", _bands(pixels), 8 * pixels.itemsize
    if isinstance(image, SamplesOfTiff):
        return "TIFF", "gray" if image.colors == 1 else "RGB", 16
    mode = image.mode.partition(";")[0]
    bits = {"1": 1, "I": 16, "F": 32}.get(mode, 8)
    if content.startswith(PNG):
        bits = content[24]
    elif isinstance(image, TiffImageFile):
        bits = max(image.tag_v2.get(BITS_PER_SAMPLE, (bits,)))
    return image.format or "unknown", _CHANNELS.get(mode, mode), bits


def _bands(pixels: np.ndarray) -> str:
    return f"{pixels.shape[2]} bands"
