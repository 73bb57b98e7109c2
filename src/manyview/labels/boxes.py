"""Boxes of the objects of each image, from COCO instances files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from manyview.errors import UserError
from manyview.images import open_image
from manyview.images.unreadable import UnreadableImage
from manyview.labels.coco import MALFORMED, check_unique, fault, read_parts, whole_pixels

_LAYOUT = (
    "a COCO instances file has images (id, file_name, width, height) and annotations (image_id, bbox: left, top, "
    "width, height)"
)


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


def read_boxes(file: Path, images: Path | None = None, bands: Literal["rgb"] | int = "rgb") -> ImageBoxes:
    """Read the boxes of a COCO instances file.

    Boxes are clipped to their image, as annotators draw over the edge; those without area are left out.

    Args:
        file: a ``.json`` with ``images`` and ``annotations``; categories and everything else in it are ignored.
        images: folder of the images, from which a width and height are read that the file does not state. No other
            image needs to exist.
        bands: of these images, as for ``open_image``.

    Returns:
        All images of the file in its order, also those without objects.

    Raises:
        UserError: the file is malformed, names an image twice, or has an invalid box or one outside of its image; or
            an image's size is neither in the file nor can be read from the folder.
    """
    parts = read_parts(file, ("images", "annotations"), _LAYOUT)
    annotations = parts["annotations"]
    try:
        entries = [(int(entry["id"]), str(entry["file_name"])) for entry in parts["images"]]
        owners = [int(entry["image_id"]) for entry in annotations]
        corners = _as_boxes([entry["bbox"] for entry in annotations])
        crowds = np.array([bool(entry.get("iscrowd", 0)) for entry in annotations], dtype=bool)
    except MALFORMED as error:
        raise UserError(f"{file} {fault(error)}: {_LAYOUT}") from error
    check_unique([number for number, _ in entries], f"{file} has the image id")
    check_unique([name for _, name in entries], f"{file} has the image")
    sizes = np.array(
        [
            _size(entry, file) or _measure(name, file, images, bands)
            for (_, name), entry in zip(entries, parts["images"], strict=True)
        ],
        dtype=np.int64,
    ).reshape(-1, 2)
    index_of = {number: index for index, (number, _) in enumerate(entries)}
    unknown = next((number for number in owners if number not in index_of), None)
    if unknown is not None:
        raise UserError(f"{file} has an annotation of image {unknown}, which it does not define")
    images_of = np.array([index_of[number] for number in owners], dtype=np.int64)
    boxes = _cut(corners, sizes[images_of], file)
    has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    order = np.flatnonzero(has_area)[np.argsort(images_of[has_area], kind="stable")]
    names = tuple(name for _, name in entries)
    return ImageBoxes(names, sizes, boxes[order], images_of[order], crowds[order])


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


def _as_boxes(boxes: list[Any]) -> Float64[np.ndarray, "objects 4"]:
    corners = np.array(boxes, dtype=np.float64) if boxes else np.empty((0, 4))
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise ValueError("a bbox must have four numbers")
    return corners


def _size(entry: Any, file: Path) -> tuple[int, int] | None:
    """Width and height of an image if the file states them."""
    width, height = entry.get("width"), entry.get("height")
    if width is None or height is None:
        return None
    if not whole_pixels(width, height):
        raise UserError(
            f"{file} gives {entry['file_name']} {width!r} x {height!r} pixels: width and height must be whole numbers "
            "from 1"
        )
    return int(width), int(height)


def _measure(name: str, file: Path, images: Path | None, bands: Literal["rgb"] | int) -> tuple[int, int]:
    """Width and height read from the image file."""
    if images is None:
        raise UserError(f"{file} does not state the width and height of {name}: add them")
    try:
        image = open_image(images / name, bands)
    except UnreadableImage as error:
        raise UserError(f"{file} does not state the width and height of {name}, and {error}") from error
    return image.width, image.height


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
