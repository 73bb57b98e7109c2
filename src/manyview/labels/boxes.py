"""Boxes of the objects of each image, from label files with objects."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from manyview.errors import UserError
from manyview.images import ImageRoot, open_image
from manyview.images.unreadable import UnreadableImage
from manyview.labels.check_objects import check_layout
from manyview.labels.instances import BOXES, Instances, annotation, check_unique
from manyview.labels.objects import DetectionLabels
from manyview.labels.paths import ImageNames
from manyview.labels.problems import refusal
from manyview.labels.read_objects import read_annotations


@dataclass(frozen=True)
class ImageBoxes:
    """Boxes of the objects of several images, grouped by image.

    Attributes:
        names: images, as the file names them.
        sizes: width and height of each image in pixels.
        boxes: left, top, right, bottom of each object in pixels, within its image, of positive area.
        owners: index of each object's image, ascending.
        crowds: whether each box holds a crowd instead of one object (COCO's ``iscrowd``).
    """

    names: tuple[str, ...]
    sizes: Int64[np.ndarray, "images 2"]
    boxes: Float64[np.ndarray, "objects 4"]
    owners: Int64[np.ndarray, " objects"]
    crowds: Bool[np.ndarray, " objects"]

    def without_crowds(self) -> ImageBoxes:
        """The same images without boxes of crowds."""
        keep = ~self.crowds
        return ImageBoxes(self.names, self.sizes, self.boxes[keep], self.owners[keep], self.crowds[keep])


def read_boxes(file: Path, images: ImageRoot | None = None, bands: Literal["rgb"] | int = "rgb") -> ImageBoxes:
    """Read the boxes of a COCO instances file, or of labels of another format as ``read_annotations`` takes them.

    Boxes are clipped to their image, as annotators draw over the edge; those without area are left out.

    Args:
        file: a ``.json`` with ``images`` and ``annotations``; categories and everything else in it are ignored. Of a
            data set's YAML file, the training images.
        images: folder of the images, from which a width and height are read that the file does not state. No other
            image of a ``.json`` needs to exist.
        bands: of these images, as for ``open_image``.

    Returns:
        All images of the file in its order, also those without objects.

    Raises:
        UserError: the file is malformed, names an image twice, has an invalid box or one outside of its image, or boxes
            that are evidently shares, corners or centers; or an image's size is neither in the file nor can be read
            from the folder.
    """
    if file.suffix.lower() != ".json":
        return _of_annotations(read_annotations(file, images))
    instances = Instances(file, categories=False)
    entries = instances.images(BOXES)
    convert = functools.partial(annotation, masks=False, categories=False)
    objects = instances.by_image(instances.records("annotations", convert, BOXES), entries)
    if instances.problems:
        raise refusal(instances.problems, file, can_skip=False)
    names = _names([image.name for image in entries], images)
    check_unique(names, f"{file} has the image")
    sizes = np.array(
        [image.size or _measure(name, file, images, bands) for name, image in zip(names, entries, strict=True)],
        dtype=np.int64,
    ).reshape(-1, 2)
    of_image = [objects[image.number] for image in entries]
    corners = np.array([each.box for found in of_image for each in found], dtype=np.float64).reshape(-1, 4)
    crowds = np.array([each.crowd for found in of_image for each in found], dtype=bool)
    owners = np.repeat(np.arange(len(entries), dtype=np.int64), [len(found) for found in of_image])
    areas = [each.area for found in of_image for each in found]
    check_layout(file, corners, sizes[owners], areas=areas)
    boxes = _cut(corners, sizes[owners], file)
    has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return ImageBoxes(tuple(names), sizes, boxes[has_area], owners[has_area], crowds[has_area])


def _of_annotations(labels: DetectionLabels) -> ImageBoxes:
    """The boxes of labels whose images were looked at."""
    boxes = np.concatenate([np.zeros((0, 4)), *(each.boxes.astype(np.float64) for each in labels.objects)])
    owners = np.repeat(np.arange(len(labels), dtype=np.int64), [len(each) for each in labels.objects])
    crowds = np.concatenate([np.zeros(0, dtype=bool), *(each.crowd for each in labels.objects)])
    has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    sizes = np.array(labels.sizes, dtype=np.int64).reshape(-1, 2)
    return ImageBoxes(labels.names, sizes, boxes[has_area], owners[has_area], crowds[has_area])


def join_boxes(parts: Sequence[ImageBoxes]) -> ImageBoxes:
    """Join the images of several files, in their order.

    Raises:
        UserError: an image is in more than one of them.
    """
    names = [name for part in parts for name in part.names]
    check_unique(names, "the label files have the image")
    starts = np.cumsum([0, *(len(part.names) for part in parts)])
    return ImageBoxes(
        tuple(names),
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.owners + start for part, start in zip(parts, starts[:-1], strict=True)]),
        np.concatenate([part.crowds for part in parts]),
    )


def _names(names: Sequence[str], images: ImageRoot | None) -> list[str]:
    """The images' names in their folder; as given where there is no such image, which need not exist."""
    if images is None:
        return list(names)
    known = ImageNames(images, by_stem=False)
    found = [known.match(name) for name in names]
    return [files[0] if len(files) == 1 else name for name, files in zip(names, found, strict=True)]


def _measure(name: str, file: Path, images: ImageRoot | None, bands: Literal["rgb"] | int) -> tuple[int, int]:
    """Width and height read from the image file."""
    if images is None:
        raise UserError(f"{file} does not state the width and height of {name}: add them")
    try:
        image = open_image(images / name, bands)
    except UnreadableImage as error:
        raise UserError(f"{file} does not state the width and height of {name}, and {error}") from error
    return image.width, image.height


@np.errstate(over="ignore")
def _cut(
    boxes: Float64[np.ndarray, "objects 4"], sizes: Int64[np.ndarray, "objects 2"], file: Path
) -> Float64[np.ndarray, "objects 4"]:
    """Boxes (left, top, width, height) as (left, top, right, bottom), clipped to their images."""
    start, extent = boxes[:, :2], boxes[:, 2:]
    wrong = ~np.isfinite(boxes).all(axis=1) | (extent < 0).any(axis=1)
    outside = ((start >= sizes) | (start + extent <= 0)).any(axis=1) & (extent > 0).all(axis=1)
    for faulty, reason in (
        (wrong, "which is not a valid box: left, top, width, height in pixels, the latter two not negative"),
        (outside, "which lies outside of its image of {} x {} pixels: boxes and sizes must be in the same pixels"),
    ):
        if faulty.any():
            first = int(np.argmax(faulty))
            box = ", ".join(f"{value:g}" for value in boxes[first])
            raise UserError(f"{file} has the bbox [{box}], " + reason.format(*sizes[first]))
    return np.concatenate([np.clip(start, 0, sizes), np.clip(start + extent, 0, sizes)], axis=1)
