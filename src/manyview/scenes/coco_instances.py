"""Exact masks and their boxes as a COCO instances file (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

Mask = Bool[np.ndarray, "height width"]


class Instances:
    """Pictures and the objects in them, numbered from 1 as they come.

    Args:
        kinds: names of the categories, which are numbered from 1 in this order.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self._numbers = {kind: number for number, kind in enumerate(kinds, start=1)}
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, name: str, size: tuple[int, int], objects: Iterable[tuple[str, Mask]]) -> None:
        """Add a picture.

        Args:
            name: of its file.
            size: width and height in pixels.
            objects: kind and mask of each, a mask being of the picture's size and not empty. Its box is the smallest
                that holds it.
        """
        image = len(self._images) + 1
        self._images.append({"id": image, "file_name": name, "width": size[0], "height": size[1]})
        for kind, mask in objects:
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image,
                    "category_id": self._numbers[kind],
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
        categories = [{"id": number, "name": kind} for kind, number in self._numbers.items()]
        content = {"images": self._images, "annotations": self._annotations, "categories": categories}
        file.write_text(json.dumps(content), encoding="utf-8")


def run_lengths(mask: Mask) -> list[int]:
    """COCO's plain run lengths of a mask: down the columns, of pixels outside and inside in turn, outside first."""
    changes = np.flatnonzero(np.diff(mask.T.ravel(), prepend=False))
    lengths: list[int] = np.diff([0, *changes.tolist(), mask.size]).tolist()
    return lengths


def _box(mask: Mask) -> list[int]:
    """Left, top, width and height."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
