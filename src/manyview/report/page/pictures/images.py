"""Images of a run, and images as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from manyview.errors import UserError
from manyview.images import ImageFiles, ImageRoot, UnreadableImage, find_images, image_root, open_image
from manyview.labels import LabelTable, read_labels
from manyview.report.page.reading.run import Run, lookup
from manyview.report.shown import BandDisplay

Pixels = UInt8[np.ndarray, "height width 3"]
Bands = UInt8[np.ndarray, "height width bands"] | UInt16[np.ndarray, "height width bands"]

_QUALITY = 78
_MOST_TRIED = 50  # images that are opened for one that can be read


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """An image of a run.

    Attributes:
        name: relative to the folder.
        index: among the run's images, on which its views depend.
        bands: its pixels.
        shown: as 8-bit RGB.
    """

    name: str
    index: int
    bands: Bands
    shown: Pixels


def files_of(run: Run, images: Path | str | None) -> ImageFiles:
    """The images of a run, as it found them: of one that learned from labels without a list, those that they name.

    Args:
        run: with the folder, the list and the labels that it trained on.
        images: another folder where the images lie now.

    Raises:
        UserError: they are not at hand.
    """
    where = images if images is not None else run.setting("data.images")
    if not isinstance(where, str | Path):
        raise UserError("nothing records where its images are")
    names = run.setting("data.list")
    listed = Path(names) if isinstance(names, str) and Path(names).is_file() else None
    root = image_root(where)
    if listed is None and lookup(run.about, "data.labels_sha256") is not None:
        return ImageFiles(root, _labeled(run, root))
    arrays = run.setting("data.bands", "rgb") != "rgb"
    return find_images(root, listed, arrays=arrays)


def _labeled(run: Run, root: ImageRoot) -> tuple[str, ...]:
    """Names of the images that a run's labels name."""
    data, classes = run.setting("data"), run.setting("method.classes")
    order = tuple(classes) if isinstance(classes, list) and classes else None
    table, names = LabelTable.of(data), run.setting("data.class_names")
    return read_labels(Path(data["labels"]), root, order, table=table, class_names=names).names


def are_the_runs(files: ImageFiles, run: Run) -> bool:
    """Whether these are the images that a run was started with, on which its views depend, as far as is recorded."""
    return lookup(run.about, "data.fingerprint") in (None, files.fingerprint())


def photographs(run: Run, files: ImageFiles, count: int) -> list[Photograph]:
    """So many images of a run, evenly spaced among all; those that cannot be read are passed over.

    Args:
        run: that trained on them.
        files: all of its images.
        count: how many.
    """
    count = min(count, len(files))
    starts = [number * len(files) // count for number in range(count)]
    taken: dict[int, Photograph] = {}
    for start in starts:
        found = next(_readable(run, files, start, taken), None)
        if found is not None:
            taken[found.index] = found
    return list(taken.values())


def _readable(run: Run, files: ImageFiles, start: int, taken: dict[int, Photograph]) -> Iterator[Photograph]:
    """Readable images from an index on."""
    bands = run.setting("data.bands", "rgb")
    rgb = (0, 1, 2) if bands == "rgb" else _colors(run)
    for index in range(start, min(start + _MOST_TRIED, len(files))):
        if index in taken:
            continue
        try:
            pixels = open_image(files.path(index), bands, bit_depth=run.setting("data.bit_depth")).decode()
        except (UnreadableImage, OSError):
            continue
        shown = pixels if bands == "rgb" else BandDisplay.of(pixels, rgb)(pixels)
        yield Photograph(files[index], index, pixels, shown)


def _colors(run: Run) -> tuple[int, int, int] | None:
    found = run.setting("data.rgb_bands")
    return tuple(found) if isinstance(found, list) and len(found) == 3 else None  # type: ignore[return-value]


def data_uri(pixels: Pixels, longest: int, quality: int = _QUALITY) -> str:
    """An image as a WebP within a data URI.

    Args:
        pixels: RGB.
        longest: pixels of its longer side at most; larger images are made smaller.
        quality: of the compression, from 0 to 100.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, format="webp", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"


def read_picture(file: Path) -> Pixels | None:
    """A picture that a command drew; None if it cannot be read."""
    try:
        return open_image(file).decode()
    except (UnreadableImage, OSError):
        return None
