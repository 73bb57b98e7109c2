"""Mean and standard deviation of each band over a sample of images, where ImageNet's do not apply."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from manyview.errors import UserError
from manyview.images.bands import full_scale, open_bands
from manyview.images.files import ImageFiles
from manyview.images.unreadable import UnreadableImage

SAMPLE = 1000
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
    chosen = draw_sample(len(files), sample, seed)

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


def draw_sample(images: int, sample: int, seed: int) -> Int64[np.ndarray, " chosen"]:
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
