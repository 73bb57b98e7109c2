"""Statistics of a sample of images: mean and standard deviation of each band, and the bits that 16-bit files use."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from manyview.errors import UserError
from manyview.images.bands import full_scale, open_bands
from manyview.images.decode import deep_header, highest_value
from manyview.images.depth import FEWEST_BITS, MOST_BITS
from manyview.images.files import ImageFiles
from manyview.images.formats import could_be_deep
from manyview.images.unreadable import UnreadableImage

SAMPLE = 1000
_HEADERS, _DEEP = 256, 64  # files whose header is read, and 16-bit ones whose values are, at most
_NEARLY_BLACK = 13  # bits, of which white becomes 32 of 256
# Side of the grid of pixels that each image is reduced to. Pixels are picked, not averaged, since averaging would
# reduce the standard deviation.
_GRID = 128
# The Philox stream from which samples are drawn; nothing else draws from it.
_STREAM = 2**63 + 2

Progress = Callable[[int, int], None]
"""Called with the number of images done and the total."""

_Moments = tuple[Float64[np.ndarray, " bands"], Float64[np.ndarray, " bands"]]


@dataclass(frozen=True, slots=True)
class BandStatistics:
    """Statistics by which images are normalized.

    Attributes:
        mean: of each band, as a share of full scale (white).
        std: standard deviation of each band's pixels over all images, as a share of full scale; 1 for a constant band.
        images: number of images measured.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    images: int


def measure_bands(
    files: ImageFiles,
    bands: int,
    *,
    seed: int,
    max_pixels: int = 200_000_000,
    sample: int = SAMPLE,
    threads: int = 1,
    bit_depth: int | None = None,
    progress: Progress = lambda done, total: None,
) -> BandStatistics:
    """Measure mean and standard deviation of each band on a random sample; every image has the same weight.

    Args:
        files: all images.
        bands: number of bands of each.
        seed: of the sample. The figures depend on the seed and the files alone, not on the number of threads.
        max_pixels: larger images are left out, as are those that cannot be read.
        sample: maximum number of images to measure.
        threads: images decoded at a time.
        bit_depth: bits that the values of 16-bit files use; None for all 16.
        progress: called after each image.

    Raises:
        UserError: none of the sample can be read; the message names the first and why.
    """
    chosen = _sample(len(files), sample, seed)

    def moments(index: int) -> _Moments | UnreadableImage:
        try:
            image = open_bands(files.path(index), bands, max_pixels=max_pixels, bit_depth=bit_depth)
            return _moments(image.decode())
        except UnreadableImage as error:
            return error

    total, squares, count = np.zeros(bands), np.zeros(bands), 0
    first_error: UnreadableImage | None = None
    with ThreadPoolExecutor(threads) as pool:
        # In the order of the sample, since the last bits of a sum depend on it.
        for done, result in enumerate(pool.map(moments, map(int, chosen)), 1):
            if isinstance(result, UnreadableImage):
                first_error = first_error or result
            else:
                total, squares, count = total + result[0], squares + result[1], count + 1
            progress(done, len(chosen))
    if count == 0:
        raise UserError(
            f"none of {len(chosen):,} images can be read as {bands} bands ({first_error}): is data.bands right?"
        )
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std[std < 1e-6] = 1  # below the last of 16 bits: constant but for rounding
    return BandStatistics(tuple(mean.tolist()), tuple(std.tolist()), count)


def describe_depth(
    files: ImageFiles,
    bit_depth: int | None,
    *,
    option: str = "data.bit_depth",
    max_pixels: int = 200_000_000,
    threads: int = 1,
) -> str:
    """What is wrong with the range of values in 16-bit files that are read as RGB, in a sentence; empty if nothing is.

    Files of cameras, scanners and microscopes often hold 9 to 15 bits in 16, so that their white is nearly black. At
    most 64 files are decoded, and no more once one needs all 16 bits; others than PNG and TIFF are not looked at.

    Args:
        files: the images.
        bit_depth: bits that the values of 16-bit files are said to use; None for all.
        option: that sets these.
        max_pixels: larger images are left out, as are those that cannot be read.
        threads: images decoded at a time.
    """
    deep = _deep_files(files)
    top = 2**16 - 1 if bit_depth is None else 2**bit_depth - 1
    values: list[int] = []
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(deep), threads):
            part = pool.map(lambda path: highest_value(path, max_pixels=max_pixels), deep[start : start + threads])
            values += [value for value in part if value is not None]
            if bit_depth is None and max(values, default=0) >= 2**MOST_BITS:
                return ""
    above = [value for value in values if value > top]
    if bit_depth is not None and above:
        return _too_bright(len(above), len(values), max(values), bit_depth, option)
    return _too_dark(len(values), max(values), option) if bit_depth is None and values else ""


def _deep_files(files: ImageFiles) -> list[Path]:
    """Files of a sample whose header says that they have 16 bits a sample."""
    candidates = [index for index, name in enumerate(files) if could_be_deep(name)]
    found: list[Path] = []
    for chosen in _sample(len(candidates), _HEADERS, seed=0):
        path = files.path(candidates[chosen])
        if len(found) < _DEEP and deep_header(path):
            found.append(path)
    return found


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


def _sample(images: int, sample: int, seed: int) -> Int64[np.ndarray, " chosen"]:
    """Indices of a random sample, ascending; all of them if there are no more."""
    if images <= sample:
        return np.arange(images)
    counter, key = np.array([0, 0, 0, _STREAM], dtype=np.uint64), np.array([seed, 0], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=counter))
    return np.sort(generator.choice(images, sample, replace=False))


def _moments(pixels: np.ndarray) -> _Moments:
    """First and second moments of an image's values as shares of full scale, (bands,) each."""
    steps = (max(1, -(-side // _GRID)) for side in pixels.shape[:2])
    rows, columns = (slice(step // 2, None, step) for step in steps)
    # In C order, so that the last bits of the sums do not depend on the layout of a file's values in memory.
    shares = pixels[rows, columns].astype(np.float64, order="C") / full_scale(pixels.dtype)
    return shares.mean(axis=(0, 1)), (shares**2).mean(axis=(0, 1))
