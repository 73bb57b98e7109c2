"""Labeled training and validation images of an evaluation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.errors import UserError
from manyview.images import ImageRoot, image_root
from manyview.labels import Difficult, ImageLabels, LabelTable, Problems, read_labels

# Skipped entries of a label file that the record lists.
_LISTED = 100


@dataclass(frozen=True, slots=True)
class LabeledSplit:
    """A label file as read, with the folder of its images.

    Attributes:
        file: the label file or folder.
        folder: of the images, or shards that hold them.
        labels: as read.
        difficult: how labels of difficult objects were read: "ignore" or "positive".
    """

    file: Path
    folder: ImageRoot
    labels: ImageLabels
    difficult: Difficult = "ignore"

    def describe(self) -> dict[str, Any]:
        """File, fingerprint of the labels, counts (by class in lists) and skipped entries, as plain data."""
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
            **({"notes": list(labels.notes)} if labels.notes else {}),
        }


@dataclass(frozen=True, slots=True)
class Data:
    """Training and validation split, with the same classes."""

    train: LabeledSplit
    val: LabeledSplit

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the training labels."""
        return self.train.labels.classes

    def images_in_both(self) -> int:
        """Number of images in both splits: above 0, the figures flatter."""
        train, val = ({(part.folder / name).resolve() for name in part.labels.names} for part in (self.train, self.val))
        return len(train & val)


@dataclass(frozen=True, slots=True)
class Sources:
    """Folders and label files of an evaluation, and how labels are read.

    Attributes:
        images: folder that the label files' names are relative to, or shards.
        train_labels: training labels in any format of ``manyview.labels.read_labels``, which define the classes.
        val_labels: validation labels.
        val_images: folder of the validation images; None: ``images``.
        difficult: handling of difficult objects, as for ``read_labels``.
        label_problems: handling of entries that cannot be used, as for ``read_labels``.
        label_separator: text between the labels of an image in CSV files, as for ``LabelTable``.
        image_column: name of the column of images there.
        label_column: name of the column of labels there.
    """

    images: str | os.PathLike[str] | ImageRoot
    train_labels: str | os.PathLike[str]
    val_labels: str | os.PathLike[str]
    val_images: str | os.PathLike[str] | ImageRoot | None = None
    difficult: Difficult = "ignore"
    label_problems: Problems = "refuse"
    label_separator: str | None = None
    image_column: str | None = None
    label_column: str | None = None

    def read(self) -> Data:
        """Read both label files.

        Raises:
            UserError: if a file cannot be used, or no validation image shows any class; or, unless problems are
                skipped, if an entry cannot be used, such as one of a class that the training labels lack.
        """
        train = self._part(self.train_labels, self.images)
        val_images = self.images if self.val_images is None else self.val_images
        val = self._part(self.val_labels, val_images, train.labels.classes)
        if not val.labels.targets.any():
            raise UserError(f"no image of {val.file} shows any of the classes: there is nothing to measure by")
        return Data(train, val)

    def _part(
        self,
        file: str | os.PathLike[str],
        folder: str | os.PathLike[str] | ImageRoot,
        classes: Sequence[str] | None = None,
    ) -> LabeledSplit:
        root = image_root(folder)
        labels = read_labels(
            Path(file),
            root,
            classes=classes,
            difficult=self.difficult,
            problems=self.label_problems,
            table=LabelTable(self.label_separator, self.image_column, self.label_column),
        )
        return LabeledSplit(Path(file), root, labels, self.difficult)


def bounded(entries: Sequence[str], limit: int) -> dict[str, Any]:
    """Number of entries ("count") and the first ``limit`` of them ("first"), as plain data."""
    return {"count": len(entries), "first": list(entries[:limit])}
