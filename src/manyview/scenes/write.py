"""Synthetic scenes as a data set: pictures, and label files of each kind that is read here."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from manyview.errors import UserError
from manyview.scenes.coco_instances import Instances
from manyview.scenes.render import KINDS, render_scene


def write_scenes(
    folder: Path, count: int, seed: int = 0, *, val_share: float = 0.2, size: tuple[int, int] = (128, 128)
) -> None:
    """Write synthetic scenes (``images/synthetic-*.jpg``) and their labels, once as kinds and once as objects.

    The pictures are rendered by this package and are no images. ``train.csv`` and ``val.csv`` have the columns
    ``image`` (name inside ``images``) and ``labels`` (joined by ``|``). ``instances_train.json`` and
    ``instances_val.json`` are COCO instances files with a box and a mask, as plain run lengths, for each label; their
    categories are ``KINDS``, numbered from 1. Scene i is the same whatever the count, and the same call writes the
    same files again.

    Args:
        folder: where to write; created if missing.
        count: scenes altogether.
        seed: decides all scenes.
        val_share: share of the scenes, the last ones, that is for validation.
        size: width and height in pixels.

    Raises:
        UserError: ``folder`` cannot be written, or its ``images`` hold files that are not of this set.
    """
    names = [f"synthetic-{index:06d}.jpg" for index in range(count)]
    train = count - round(count * val_share)
    try:
        _make(folder / "images", names)
        for part, start, end in (("train", 0, train), ("val", train, count)):
            _write_part(folder, part, {index: names[index] for index in range(start, end)}, seed, size)
    except OSError as error:
        raise UserError(f"cannot write synthetic scenes to {folder}: {error.strerror or error}") from error


def _make(images: Path, names: list[str]) -> None:
    """The folder of the pictures, in which there is nothing else."""
    images.mkdir(parents=True, exist_ok=True)
    strangers = {path.name for path in images.glob("[!.]*")}.difference(names)
    if strangers:
        raise UserError(f"{images} holds other files, such as {min(strangers)}: give a new folder for the scenes")


def _write_part(folder: Path, part: str, names: dict[int, str], seed: int, size: tuple[int, int]) -> None:
    """Render scenes by number, and write them with their two label files."""
    rows, instances = [("image", "labels")], Instances(KINDS)
    for index, name in names.items():
        scene = render_scene(_scene_seed(seed, index), size)
        Image.fromarray(scene.pixels).save(folder / "images" / name, quality=90)
        rows.append((name, "|".join(sorted(scene.masks))))
        instances.add(name, size, scene.masks.items())
    with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    instances.write(folder / f"instances_{part}.json")


def _scene_seed(seed: int, index: int) -> int:
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0])
