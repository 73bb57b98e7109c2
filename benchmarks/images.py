"""Images for the benchmarks: from a folder, or rendered scenes."""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from manyview.images import UnreadableImage, decode_image, find_images
from manyview.scenes import render_scene

QUALITY = 90
_RENDERED_WHOLE = 1_000_000  # larger synthetic scenes would hold too little detail for their size
_TILE = (250, 200)  # of a mosaic; 12 megapixels of such tiles take as many bytes as a camera's JPEG

Pixels = UInt8[np.ndarray, "height width 3"]


def jpegs(folder: Path | None, size: tuple[int, int], count: int, *, enlarge: bool = False) -> list[bytes]:
    """Encoded images; arguments as for ``load_images``."""
    return [encode(pixels) for pixels in load_images(folder, size, count, enlarge=enlarge)]


def load_images(folder: Path | None, size: tuple[int, int], count: int, *, enlarge: bool = False) -> list[Pixels]:
    """Images of a size (width, height), from a folder or, without one, synthetic.

    They are cropped to the size's aspect ratio. One that is too small is enlarged or, since that makes it smoother than
    an image of that size would be, combined in a mosaic with as many others as needed.
    """
    sources = _sources(folder, size)
    return [_one(sources, size, enlarge) for _ in range(count)]


def encode(pixels: Pixels) -> bytes:
    """Encode as JPEG of quality 90, colors at half resolution."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def write_jpegs(folder: Path, encoded: Iterable[bytes]) -> Path:
    """Write one file for each image to a new folder, which exists only once it is complete."""
    unfinished = folder.with_name(folder.name + "-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for index, data in enumerate(encoded):
        (unfinished / f"{index:05d}.jpg").write_bytes(data)
    return unfinished.rename(folder)


def describe(folder: Path | None) -> str:
    """Description of the images for a result."""
    return "photos" if folder else "synthetic scenes, no photos"


def _sources(folder: Path | None, size: tuple[int, int]) -> Iterator[Image.Image]:
    """Endless images."""
    return _scenes(size if size[0] * size[1] <= _RENDERED_WHOLE else _TILE) if folder is None else _files(folder)


def _scenes(size: tuple[int, int]) -> Iterator[Image.Image]:
    for seed in itertools.count():
        yield Image.fromarray(render_scene(seed, size).pixels)


def _files(folder: Path) -> Iterator[Image.Image]:
    files = find_images(folder)
    while True:
        readable = 0
        for index in range(len(files)):
            with contextlib.suppress(UnreadableImage):
                yield Image.fromarray(decode_image(files.path(index)))
                readable += 1
        if not readable:
            raise SystemExit(f"{folder} holds no image that can be read")


def _one(sources: Iterator[Image.Image], size: tuple[int, int], enlarge: bool) -> Pixels:
    source = next(sources)
    if enlarge or (source.width >= size[0] and source.height >= size[1]):
        return np.array(ImageOps.fit(source, size, Image.Resampling.BICUBIC))
    mosaic = Image.new("RGB", size)
    for top, left in itertools.product(range(0, size[1], _TILE[1]), range(0, size[0], _TILE[0])):
        mosaic.paste(ImageOps.fit(source, _TILE, Image.Resampling.BICUBIC), (left, top))
        source = next(sources)
    return np.array(mosaic)
