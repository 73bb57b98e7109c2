"""Synthetic scenes as a data set: images, CSV image labels, and COCO instances with boxes and masks."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from manyview.errors import UserError
from manyview.scenes.places import CATEGORIES
from manyview.scenes.render import render_scene

Mask = Bool[np.ndarray, "height width"]


def write_scenes(
    folder: Path, count: int, seed: int = 0, *, val_share: float = 0.2, size: tuple[int, int] = (128, 128)
) -> None:
    """Write synthetic scenes (``images/synthetic-*.jpg``), their image labels and their objects.

    The images are rendered by this package; they are no photos. ``train.csv`` and ``val.csv`` have the columns
    ``image`` (name inside ``images``) and ``labels`` (joined by ``|``). ``instances_train.json`` and
    ``instances_val.json`` are COCO instances files with a box and a mask, as uncompressed RLE, for each label; their
    categories are ``CATEGORIES``, numbered from 1. Scene i does not depend on the count, and the same call writes the
    same files again.

    Args:
        folder: output folder; created if missing.
        count: number of scenes.
        seed: determines all scenes.
        val_share: share of the scenes for validation, the last ones.
        size: width and height in pixels.

    Raises:
        UserError: ``folder`` cannot be written, or it holds images or labels of others.
    """
    names = [f"synthetic-{index:06d}.jpg" for index in range(count)]
    train = count - round(count * val_share)
    try:
        _make(folder, names)
        for part, start, end in (("train", 0, train), ("val", train, count)):
            _write_part(folder, part, {index: names[index] for index in range(start, end)}, seed, size)
    except OSError as error:
        raise UserError(f"cannot write synthetic scenes to {folder}: {error.strerror or error}") from error


class CocoInstances:
    """A COCO instances file (https://cocodataset.org/#format-data): images and their objects, numbered from 1.

    Args:
        categories: names of the categories, which are numbered from 1 in this order.
    """

    def __init__(self, categories: Sequence[str]) -> None:
        self._numbers = {category: number for number, category in enumerate(categories, start=1)}
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, name: str, size: tuple[int, int], objects: Iterable[tuple[str, Mask]]) -> None:
        """Add an image.

        Args:
            name: of its file.
            size: width and height in pixels.
            objects: category and mask of each; a mask has the image's size and is not empty. The box is the smallest
                that contains the mask.
        """
        image = len(self._images) + 1
        self._images.append({"id": image, "file_name": name, "width": size[0], "height": size[1]})
        for category, mask in objects:
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image,
                    "category_id": self._numbers[category],
                    "bbox": _box(mask),
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
                }
            )

    def write(self, file: Path) -> None:
        """Write the file.

        Raises:
            OSError: it cannot be written.
        """
        categories = [{"id": number, "name": category} for category, number in self._numbers.items()]
        content = {"images": self._images, "annotations": self._annotations, "categories": categories}
        file.write_text(json.dumps(content), encoding="utf-8")


def run_lengths(mask: Mask) -> list[int]:
    """COCO's uncompressed RLE of a mask: column by column, alternating runs outside and inside, outside first."""
    changes = np.flatnonzero(np.diff(mask.T.ravel(), prepend=False))
    lengths: list[int] = np.diff([0, *changes.tolist(), mask.size]).tolist()
    return lengths


def _box(mask: Mask) -> list[int]:
    """Left, top, width and height."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]


def _make(folder: Path, names: list[str]) -> None:
    """Create the folder of the images, and check that neither it nor the labels are another data set's."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    strangers = {path.name for path in images.glob("[!.]*")}.difference(names)
    if strangers:
        raise UserError(f"{images} holds other files, such as {min(strangers)}: give a new folder for the scenes")
    if not any(images.glob("synthetic-*.jpg")):
        labels = [folder / f for part in ("train", "val") for f in (f"{part}.csv", f"instances_{part}.json")]
        if others := [file.name for file in labels if os.path.lexists(file)]:
            raise UserError(f"{folder} holds other files, such as {others[0]}: give a new folder for the scenes")


def _write_part(folder: Path, part: str, names: dict[int, str], seed: int, size: tuple[int, int]) -> None:
    """Render scenes by index, and write them with their two label files."""
    rows, instances = [("image", "labels")], CocoInstances(CATEGORIES)
    for index, name in names.items():
        scene = render_scene(_scene_seed(seed, index), size)
        Image.fromarray(scene.pixels).save(folder / "images" / name, quality=90)
        rows.append((name, "|".join(sorted({category for category, _ in scene.objects}))))
        instances.add(name, size, scene.objects)
    with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    instances.write(folder / f"instances_{part}.json")


def _scene_seed(seed: int, index: int) -> int:
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0])
