"""What readers may do with a file: return pixels or labels that are consistent, or raise a UserError of one line."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from manyview.detection.metrics.results import read_results
from manyview.errors import UserError
from manyview.images import UnreadableImage, decode_image, open_image
from manyview.images.bands import decode_bands
from manyview.images.files import find_images
from manyview.images.jpeg_on_device import decode_jpegs, read_jpeg
from manyview.labels import read_objects as measuring
from manyview.labels.boxes import read_boxes
from manyview.labels.objects import DetectionLabels
from manyview.labels.read_image_labels import ImageLabels, read_labels
from manyview.labels.read_objects import read_annotations
from manyview.labels.table import LabelTable
from tests.fuzz.label_seeds import RESULTS, label_seeds

MOST_PIXELS = 2**20
LONGEST = 3020  # characters of a message

Result = TypeVar("Result")


class Violation(AssertionError):  # noqa: N818 - named after what happened
    """A reader did what it never may."""


def require(condition: bool, what: str) -> None:
    if not condition:
        raise Violation(what)


def refused(call: Callable[[], Result], names: Sequence[str]) -> Result | UserError:
    """What a reader returns, or its error, whose message must be one line and name one of some files."""
    try:
        return call()
    except UserError as error:
        check_sentence(str(error), names)
        require("out of memory" not in str(error), f"memory beyond the limit was needed: {error}")
        return error


def check_sentence(text: str, names: Sequence[str]) -> None:
    require(len(text.splitlines()) == 1, f"a message of several lines or none: {text!r}")
    require(len(text) <= LONGEST, f"a message of {len(text)} characters: {text[:300]!r}")
    require(not any(ord(letter) < 32 or ord(letter) == 127 for letter in text), f"control characters: {text!r}")
    require(any(name in text for name in names), f"a message that names no file: {text!r}")


# Images.


def check_image(path: Path) -> str:
    """Read a file by every reader of images; returns "pixels" if any returned some, else "refused"."""
    outcomes = [_as_rgb(path), _in_bands(path), _on_device(path)]
    return "pixels" if any(outcomes) else "refused"


def _as_rgb(path: Path) -> bool:
    names, data = [str(path)], path.read_bytes()
    decoded = {}
    size = None
    for shrink in (1, 2, 8):
        opened = refused(lambda: open_image(path, max_pixels=MOST_PIXELS), names)
        if isinstance(opened, UserError):
            require(not decoded, "the header was read once, but not twice")
            break
        size = opened.width, opened.height
        require(0 < opened.width * opened.height <= MOST_PIXELS, f"a size of {size}")
        pixels = refused(lambda: opened.decode(shrink), names)  # noqa: B023
        decoded[shrink] = pixels
        if not isinstance(pixels, UserError):
            sides = tuple(math.ceil(side / shrink) for side in size[::-1])
            require(pixels.shape == (*sides, 3), f"{pixels.shape} instead of {sides} at 1/{shrink}")
            require(pixels.dtype == np.uint8 and pixels.flags.writeable, f"{pixels.dtype}, {pixels.flags}")
    _check_sizes_agree(decoded)
    _check_measured(path, size)
    again = refused(lambda: decode_image(data, max_pixels=MOST_PIXELS), [""])
    first = decoded.get(1)
    if isinstance(first, np.ndarray):
        require(isinstance(again, np.ndarray) and np.array_equal(again, first), "bytes and file differ")
    else:
        require(isinstance(again, UserError), "bytes are read, the file is not")
    return isinstance(first, np.ndarray)


def _check_sizes_agree(decoded: Mapping[int, np.ndarray | UserError]) -> None:
    taken = {shrink: isinstance(pixels, np.ndarray) for shrink, pixels in decoded.items()}
    errors = [str(pixels) for pixels in decoded.values() if isinstance(pixels, UserError)]
    require(len(set(taken.values())) <= 1, f"taken at some sizes only: {taken}, {errors}")


def _check_measured(path: Path, size: tuple[int, int] | None) -> None:
    """The size that readers of labels measure, mostly from the beginning of the file, is that of the whole file."""
    before = measuring._BEGINNING
    try:
        for measuring._BEGINNING in (200, before):
            found = measuring._measure(path)
            if isinstance(found, UnreadableImage):
                check_sentence(str(found), [path.name])
                require(size is None, f"cannot be measured: {found}")
            else:
                require(size in (None, found), f"measured {found}, opened {size}")
    finally:
        measuring._BEGINNING = before


def _in_bands(path: Path) -> bool:
    found = 0
    for bands in (1, 3, 4, 5):
        pixels = refused(lambda: decode_bands(path, bands, max_pixels=MOST_PIXELS), [str(path)])  # noqa: B023
        if not isinstance(pixels, UserError):
            found += 1
            height, width, last = pixels.shape
            require(last == bands and 0 < height * width <= MOST_PIXELS, f"{pixels.shape} for {bands} bands")
            require(pixels.dtype in (np.uint8, np.uint16) and pixels.dtype.isnative, f"{pixels.dtype}")
    return found > 0


def _on_device(path: Path) -> bool:
    found = read_jpeg(path, max_pixels=MOST_PIXELS)
    if found is None:
        return False
    data, header = found
    opened = refused(lambda: open_image(path, max_pixels=MOST_PIXELS), [str(path)])
    if not isinstance(opened, UserError):
        require((opened.width, opened.height) == (header.width, header.height), f"{header} is not {opened.width} x ...")
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    (pixels,) = decode_jpegs([encoded], [header], torch.device("cpu"))
    if pixels is None:
        return False
    require(pixels.shape == (3, header.height, header.width), f"{pixels.shape} instead of {header}")
    require(pixels.dtype == torch.uint8, f"{pixels.dtype}")
    return True


# Labels.


def check_labels(folder: Path, given: str, images: Path, options: Mapping[str, str], choice: int) -> str:
    """Read a label file by the readers of all verbs; returns "labels" if any returned some, else "refused"."""
    file = folder if given == "." else folder / given
    names = [str(folder), file.name, *(path.name for path in folder.rglob("*") if path.is_file())]
    problems = ("refuse", "skip")[choice % 2]
    table = LabelTable(**options)
    readers: list[Callable[[], object]] = [
        lambda: _checked_labels(read_labels(file, images, problems=problems, table=table), images),  # type: ignore[arg-type]
        lambda: _checked_objects(read_annotations(file, images, masks=choice // 2 % 2 == 1, problems=problems)),  # type: ignore[arg-type]
    ]
    if file.suffix == ".json":
        readers.append(lambda: _checked_boxes(read_boxes(file, images)))
    if file.suffix in (".txt", ".csv"):
        readers.append(lambda: _checked_list(find_images(images, file)))
    if file.name == RESULTS:
        readers = [lambda: _checked_results(read_results(file, _labels_of_results(images)))]
    outcomes = [refused(reader, names) for reader in readers]
    return "labels" if any(not isinstance(outcome, UserError) for outcome in outcomes) else "refused"


def _checked_labels(labels: ImageLabels, images: Path) -> None:
    shape = (len(labels.names), len(labels.classes))
    require(min(shape) > 0 and labels.targets.shape == shape and labels.targets.dtype == np.uint8, f"{shape}")
    require(set(np.unique(labels.targets)) <= {0, 1}, "targets other than 0 and 1")
    require(len(set(labels.classes)) == shape[1] and all(labels.classes), f"classes {labels.classes}"[:300])
    require(len(set(labels.names)) == shape[0], "an image is there twice")
    require(all((images / name).is_file() for name in labels.names), f"images that are not there: {labels.names}"[:300])
    if labels.ignored is not None:
        require(not (labels.ignored & labels.targets).any(), "both ignored and shown")
    require(len(labels.fingerprint()) == 64, "no fingerprint")
    _check_sentences((*labels.skipped, *labels.notes))


def _checked_objects(labels: DetectionLabels) -> None:
    require(len(labels.names) == len(labels.sizes) == len(labels.objects) == len(labels.image_ids) > 0, "lengths")
    require(len(labels.classes) == len(labels.category_ids) > 0, "classes")
    for (width, height), objects in zip(labels.sizes, labels.objects, strict=True):
        boxes, count = objects.boxes, len(objects)
        require(boxes.shape == (count, 4) and bool(np.isfinite(boxes).all()), f"boxes {boxes}")
        require(bool(((boxes >= 0) & (boxes <= [width, height, width, height])).all()), f"beyond the image: {boxes}")
        require(bool((boxes[:, 2:] >= boxes[:, :2]).all()), f"boxes {boxes}")
        require(bool(((objects.labels >= 1) & (objects.labels <= len(labels.classes))).all()), f"{objects.labels}")
        require(bool(np.isfinite(objects.area).all() and (objects.area >= 0).all()), f"areas {objects.area}")
        require(objects.segmentations is None or len(objects.segmentations) == count, "masks")
    _check_sentences((*labels.skipped, *labels.notes))


def _checked_boxes(boxes: object) -> None:
    corners, owners, sizes = boxes.boxes, boxes.owners, boxes.sizes  # type: ignore[attr-defined]
    require(bool(np.isfinite(corners).all() and (corners >= 0).all()), f"boxes {corners}")
    require(bool((corners[:, 2:] <= sizes[owners]).all() and (corners[:, 2:] > corners[:, :2]).all()), f"{corners}")
    require(bool((sizes > 0).all()), f"sizes {sizes}")


def _checked_list(files: object) -> None:
    require(len(files) > 0, "no image, and no message")  # type: ignore[arg-type]


@functools.cache
def _labels_of_results(images: Path) -> DetectionLabels:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "instances.json"
        file.write_bytes(label_seeds()["coco polygons"].files[file.name])
        return read_annotations(file, images)


def _checked_results(results: Sequence[Mapping[str, Any]]) -> None:
    for entry in results:
        require({"image_id", "category_id", "score"} <= entry.keys(), f"{entry.keys()}")
        require(math.isfinite(entry["score"]), f"score {entry['score']}")
        require(all(map(math.isfinite, entry.get("bbox", []))), f"box {entry.get('bbox')}")


def _check_sentences(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        check_sentence(sentence, [""])
