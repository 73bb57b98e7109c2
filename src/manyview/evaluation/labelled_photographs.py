"""The labelled photographs of an evaluation: some to learn from, others to measure on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.evaluation.record import bounded
from manyview.images import ImageLabels, read_labels
from manyview.images.labels.reading import Difficult, Problems

# Of what was left out of a label file, how much the record lists.
_LISTED = 100


@dataclass(frozen=True, slots=True)
class LabelledPhotographs:
    """A label file, what it says, and the folder its names are relative to.

    Attributes:
        file: the label file or folder.
        folder: of the photographs.
        labels: as read.
        difficult: what became of labels of difficult objects: "ignore" or "positive".
    """

    file: Path
    folder: Path
    labels: ImageLabels
    difficult: Difficult = "ignore"

    def describe(self) -> dict[str, Any]:
        """File, fingerprint of the labels, counts (those by class in lists), and what was left out, as plain data."""
        labels = self.labels
        ignored = [0] * len(labels.classes) if labels.ignored is None else labels.ignored.sum(0, dtype=int).tolist()
        return {
            "images": str(self.folder),
            "labels": str(self.file),
            "labels_sha256": labels.fingerprint(),
            "count": len(labels.names),
            "positives": labels.targets.sum(0, dtype=int).tolist(),
            "difficult": self.difficult,
            "ignored": ignored,
            "skipped": bounded(labels.skipped, _LISTED),
        }


@dataclass(frozen=True, slots=True)
class Data:
    """Photographs to learn from and photographs to measure on, with the same classes."""

    train: LabelledPhotographs
    val: LabelledPhotographs

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the training labels."""
        return self.train.labels.classes

    @classmethod
    def read(
        cls,
        train: tuple[Path, Path],
        val: tuple[Path, Path],
        *,
        difficult: Difficult = "ignore",
        problems: Problems = "refuse",
    ) -> Data:
        """Read two label files, each given with its folder of photographs.

        Args:
            train: labels to learn from; their classes are those of both.
            val: labels to measure on.
            difficult: what becomes of labels of difficult objects, as ``manyview.images.read_labels`` says.
            problems: what becomes of entries that cannot be used, likewise.

        Raises:
            UserError: if one cannot be used; or, unless problems are skipped, an entry of one cannot, such as one of a
                class that the training labels lack.
        """
        train_labels = read_labels(*train, difficult=difficult, problems=problems)
        val_labels = read_labels(*val, classes=train_labels.classes, difficult=difficult, problems=problems)
        parts = ((train, train_labels), (val, val_labels))
        return cls(*(LabelledPhotographs(*places, labels, difficult) for places, labels in parts))

    def images_in_both(self) -> int:
        """Photographs that are both learned from and measured on: above 0, the figures flatter."""
        train, val = ({(part.folder / name).resolve() for name in part.labels.names} for part in (self.train, self.val))
        return len(train & val)
