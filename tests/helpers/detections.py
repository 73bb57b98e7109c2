"""Small images with labeled objects, for tests of everything that detects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from manyview.labels import DetectionLabels, Objects

SMALL_DETECTOR = {"classes": 2, "short_sides": (64,), "test_short_side": 64, "regions": 8, "test_proposals": 12}
"""Arguments of ``build_detector`` for one that takes little time."""

SIZES = {"c/d.png": (41, 30), "a.jpg": (20, 11), "b.png": (8, 9)}


def write_images(folder: Path, sizes: Mapping[str, tuple[int, int]] = SIZES) -> Path:
    """Images (width, height), in which each pixel differs from its neighbours."""
    for seed, (name, (width, height)) in enumerate(sizes.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def write_json(file: Path, content: Any) -> Path:
    """Text as it stands, anything else as JSON."""
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def labels_of(
    objects: Sequence[Sequence[Sequence[float]]],
    labels: Sequence[Sequence[int]],
    *,
    classes: int = 1,
    size: tuple[int, int] = (200, 200),
    difficult: Sequence[Sequence[bool]] | None = None,
    crowd: Sequence[Sequence[bool]] | None = None,
) -> DetectionLabels:
    """Labels made by hand.

    Args:
        objects: left, top, width, height of each object of each image.
        labels: of each of them, from 1.
        classes: how many there are.
        size: of every image.
        difficult: flags of each object; none is by default.
        crowd: likewise.
    """
    count = len(objects)
    return DetectionLabels(
        names=tuple(f"{place}.png" for place in range(count)),
        sizes=(size,) * count,
        classes=tuple(f"class {number}" for number in range(classes)),
        objects=tuple(
            _objects(
                boxes, labels[place], size, difficult[place] if difficult else None, crowd[place] if crowd else None
            )
            for place, boxes in enumerate(objects)
        ),
        image_ids=tuple(100 + 3 * place for place in range(count)),
        category_ids=tuple(7 + 2 * number for number in range(classes)),
    )


def _objects(
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    size: tuple[int, int],
    difficult: Sequence[bool] | None,
    crowd: Sequence[bool] | None,
) -> Objects:
    labelled = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    edges = np.concatenate([labelled[:, :2], labelled[:, :2] + labelled[:, 2:]], axis=1)
    none = [False] * len(boxes)
    return Objects(
        boxes=np.clip(edges, 0, [*size, *size]).astype(np.float32),
        labels=np.array(labels, dtype=np.int64),
        crowd=np.array(crowd if crowd is not None else none, dtype=bool),
        difficult=np.array(difficult if difficult is not None else none, dtype=bool),
        area=labelled[:, 2] * labelled[:, 3],
        labeled_boxes=labelled,
    )
