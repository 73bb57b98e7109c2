"""The photographs and labels that a detector learns from and is measured on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.errors import UserError
from manyview.labels import DetectionLabels, Problems, read_annotations

_TOLD = 10  # of the sentences on labels, how many a record holds


@dataclass(frozen=True)
class DetectionData:
    """Training and validation photographs with their objects.

    Attributes:
        train: what to learn from.
        train_images: the folder of its photographs.
        val: what to measure on; its classes are those of ``train``.
        val_images: the folder of its photographs.
    """

    train: DetectionLabels
    train_images: Path
    val: DetectionLabels
    val_images: Path

    @classmethod
    def read(
        cls, train: tuple[Path, Path], val: tuple[Path, Path], *, masks: bool, problems: Problems = "refuse"
    ) -> DetectionData:
        """Read label files, each given with the folder of its photographs.

        Raises:
            UserError: as ``read_annotations`` does, or no photograph holds an object to learn from.
        """
        learned = read_annotations(*train, masks=masks, problems=problems)
        if not learned.occupied():
            raise UserError(f"{train[0]} holds no object to learn from: crowds and boxes without area are none")
        measured = read_annotations(*val, learned.classes, masks=masks, problems=problems)
        return cls(learned, train[1], measured, val[1])

    @property
    def learned(self) -> tuple[int, ...]:
        """Indices of the training photographs with objects, which alone a detector sees, as in Detectron2."""
        return self.train.occupied()

    @property
    def shapes(self) -> dict[int, bool]:
        """Of each of these, whether it is wider than high."""
        return {index: self.train.sizes[index][0] > self.train.sizes[index][1] for index in self.learned}

    def remarks(self) -> Iterator[str]:
        """Sentences for the user: what is odd about the labels, and what is left out of training."""
        for name, labels in (("Training", self.train), ("Validation", self.val)):
            for note in labels.notes:
                yield f"{name} labels, {note}."
            if labels.skipped:
                yield f"{name} labels, left out: {len(labels.skipped):,}, the first being: {labels.skipped[0]}."
        empty = len(self.train) - len(self.learned)
        if empty:
            yield f"{empty:,} of {len(self.train):,} training photographs hold no object to learn from; left out."

    def describe(self) -> dict[str, Any]:
        """What they are, as plain data; another fingerprint means other labels."""
        train = {**_describe(self.train), "photographs_with_objects": len(self.learned)}
        both = set(self.train.names) & set(self.val.names) if self.train_images == self.val_images else set()
        return {
            "classes": list(self.train.classes),
            "train": train,
            "val": _describe(self.val),
            "images_in_both": len(both),
        }


def _describe(labels: DetectionLabels) -> dict[str, Any]:
    return {
        "photographs": len(labels),
        "objects": sum(len(objects) for objects in labels.objects),
        "fingerprint": labels.fingerprint(),
        "skipped": {"count": len(labels.skipped), "first": list(labels.skipped[:_TOLD])},
        "notes": list(labels.notes),
    }
