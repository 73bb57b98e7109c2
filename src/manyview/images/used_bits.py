"""The bits that the values of 16-bit files use, as measured on a sample of images, and what is wrong with them."""

from __future__ import annotations

import math
from array import array
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from manyview.images.bands import opened
from manyview.images.decode import Opened, open_with_pillow, read_file, stored_size
from manyview.images.depth import FEWEST_BITS, MOST_BITS, without_alpha
from manyview.images.files import ImageFiles
from manyview.images.formats import could_be_deep
from manyview.images.png import PNG, PNG_HEADER, deep_samples, is_deep_png
from manyview.images.sources.root import ImagePath
from manyview.images.statistics import draw_sample
from manyview.images.tiff import SIGNATURES, SamplesOfTiff, is_deep_tiff
from manyview.images.unreadable import UnreadableImage, quiet
from manyview.runtime import core_count

_HEADERS, _DEEP = 256, 64  # files whose header is read, and 16-bit ones whose values are, at most
_NEARLY_BLACK = 13  # bits, of which white becomes 32 of 256


def describe_depth(
    files: ImageFiles,
    bit_depth: int | None,
    *,
    option: str = "data.bit_depth",
    max_pixels: int = 200_000_000,
    threads: int | None = None,
) -> str:
    """What is wrong with the range of values in 16-bit files that are read as RGB, in a sentence; empty if nothing is.

    Files of cameras, scanners and microscopes often hold 9 to 15 bits in 16, so that their white is nearly black. At
    most 64 files are decoded, and no more once one needs all 16 bits; others than PNG and TIFF are not looked at.

    Args:
        files: the images.
        bit_depth: bits that the values of 16-bit files are said to use; None for all.
        option: that sets these.
        max_pixels: larger images are left out, as are those that cannot be read.
        threads: images decoded at a time; None for one on each core.
    """
    deep, threads = _deep_files(files), threads or core_count()
    top = 2**16 - 1 if bit_depth is None else 2**bit_depth - 1
    values: list[int] = []
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(deep), threads):
            part = pool.map(lambda path: _highest_value(path, max_pixels), deep[start : start + threads])
            values += [value for value in part if value is not None]
            if bit_depth is None and max(values, default=0) >= 2**MOST_BITS:
                return ""
    above = [value for value in values if value > top]
    if bit_depth is not None and above:
        return _too_bright(len(above), len(values), max(values), bit_depth, option)
    return _too_dark(len(values), max(values), option) if bit_depth is None and values else ""


def _deep_files(files: ImageFiles) -> list[ImagePath]:
    """Files of a sample whose header says that they have 16 bits a sample."""
    candidates = array("q", (index for index, name in enumerate(files) if could_be_deep(name)))
    found: list[ImagePath] = []
    for chosen in draw_sample(len(candidates), _HEADERS, seed=0):
        path = files.path(candidates[chosen])
        if len(found) < _DEEP and _is_deep(path):
            found.append(path)
    return found


def _is_deep(path: ImagePath) -> bool:
    """Whether a file's header says that it is a PNG or TIFF with integers of 16 bits; no pixels are read."""
    try:
        with opened(path) as stream:
            head = stream.read(PNG_HEADER)
            if head.startswith(SIGNATURES):
                stream.seek(0)
                return is_deep_tiff(stream)
    except Exception:  # a damaged file is reported when it is decoded
        return False
    return head.startswith(PNG) and is_deep_png(head)


def _highest_value(path: ImagePath, max_pixels: int) -> int | None:
    """The highest value of gray or color in a 16-bit PNG or TIFF; None if it is too large or cannot be read.

    Of colors that only Pillow reads, it is the highest with this high byte.
    """
    try:
        with quiet():
            data = read_file(path)
            image = open_with_pillow(data)
            if math.prod(stored_size(image)) > max_pixels:
                return None
            if data.startswith(PNG):
                return int(without_alpha(deep_samples(data)).max())
            return _highest_of_tiff(data, image)
    except Exception:  # a damaged file is reported when it is decoded
        return None


def _highest_of_tiff(data: bytes, image: Opened) -> int | None:
    try:
        samples = SamplesOfTiff(data)
        return int(samples.samples()[..., : samples.colors].max())
    except UnreadableImage:
        if isinstance(image, SamplesOfTiff) or image.mode == "CMYK":
            return None
        image.load()
        values = np.asarray(image)
        if values.dtype != np.uint8:
            return int(values.max())
        return int(without_alpha(values).max()) * 256 + 255


def _too_dark(images: int, highest: int, option: str) -> str:
    bits = max(highest.bit_length(), 1)
    levels = 2 ** max(bits - 8, 0)
    used = f"16-bit images use values up to {highest:,} of 65,535 ({_counted(images)} measured)"
    mends = f"{option}={max(bits, FEWEST_BITS)} makes {2 ** max(bits, FEWEST_BITS) - 1:,} white"
    if bits < FEWEST_BITS:
        return f"{used}, as of 8 bits: they are black; convert them to 8-bit files, or {mends}."
    dark = "nearly black" if bits <= _NEARLY_BLACK else "dark"
    return f"{used}, as of {bits} bits: they are {dark}, with some {levels} of 256 levels of gray; {mends}."


def _too_bright(above: int, images: int, highest: int, bit_depth: int, option: str) -> str:
    bits = highest.bit_length()
    mends = f"leave {option} out" if bits > MOST_BITS else f"{option}={bits} keeps them"
    return (
        f"{above:,} of {images:,} 16-bit images have values above {2**bit_depth - 1:,} (up to {highest:,}), which "
        f"{option}={bit_depth} makes white; {mends}."
    )


def _counted(images: int) -> str:
    return "1 image" if images == 1 else f"{images:,} images"
