"""Labeled training and validation images of an evaluation."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.errors import UserError
from manyview.images import ImageFiles, ImageRoot
from manyview.images.sources.copies import SharedImages, find_shared
from manyview.labels import (
    Difficult,
    ImageLabels,
    LabelTable,
    Problems,
    check_split,
    image_folder,
    is_data_file,
    read_labels,
    validation_labels,
)

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
        split: of a data set's YAML file, the images that were read; empty for other labels.
    """

    file: Path
    folder: ImageRoot
    labels: ImageLabels
    difficult: Difficult = "ignore"
    split: str = ""

    @property
    def files(self) -> ImageFiles:
        """The images, in the order of the labels."""
        return ImageFiles(self.folder, self.labels.names)

    def describe(self) -> dict[str, Any]:
        """File, fingerprint of the labels, counts (by class in lists) and skipped entries, as plain data."""
        labels = self.labels
        ignored = [0] * len(labels.classes) if labels.ignored is None else labels.ignored.sum(0, dtype=int).tolist()
        return {
            "images": str(self.folder),
            "labels": str(self.file),
            **({"split": self.split} if self.split else {}),
            "labels_sha256": labels.fingerprint(),
            "count": len(labels.names),
            "positives": labels.targets.sum(0, dtype=int).tolist(),
            "difficult": self.difficult,
            "ignored": ignored,
            "skipped": bounded(labels.skipped, _LISTED),
            **({"notes": list(labels.notes)} if labels.notes else {}),
        }


@dataclass(frozen=True)
class Data:
    """Training and validation split, with the same classes."""

    train: LabeledSplit
    val: LabeledSplit

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the training labels."""
        return self.train.labels.classes

    @functools.cached_property
    def shared(self) -> SharedImages:
        """Images in both splits, and copies of training images: where there are some, the figures flatter."""
        return find_shared(self.train.files, self.val.files)


@dataclass(frozen=True, slots=True)
class Sources:
    """Folders and label files of an evaluation, and how labels are read.

    Attributes:
        images: folder that the label files' names are relative to, or shards; None: as a data set's YAML file says.
        train_labels: training labels in any format of ``manyview.labels.read_labels``, which define the classes.
        val_labels: validation labels; None: those of such a YAML file.
        val_images: folder of the validation images; None: ``images``.
        val_split: of a YAML file, the split that is validation: "val" or "test".
        class_names: file that names YOLO's classes; None: found beside the labels.
        difficult: handling of difficult objects, as for ``read_labels``.
        label_problems: handling of entries that cannot be used, as for ``read_labels``.
        label_separator: text between the labels of an image in CSV files, as for ``LabelTable``.
        image_column: name of the column of images there.
        label_column: name of the column of labels there.
        class_columns: columns of 0 and 1 there, one a class.
    """

    images: str | os.PathLike[str] | ImageRoot | None
    train_labels: str | os.PathLike[str]
    val_labels: str | os.PathLike[str] | None
    val_images: str | os.PathLike[str] | ImageRoot | None = None
    val_split: str = "val"
    class_names: str | os.PathLike[str] | None = None
    difficult: Difficult = "ignore"
    label_problems: Problems = "refuse"
    label_separator: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    class_columns: str | None = None

    def read(self) -> Data:
        """Read both label files.

        Raises:
            UserError: if a file cannot be used, or no training or no validation image shows any class; or, unless
                problems are skipped, if an entry cannot be used, such as one of a class that the training labels lack.
        """
        val_file = validation_labels(self.train_labels, self.val_labels)
        split = check_split(val_file, self.val_split)
        train = self._part(self.train_labels, image_folder(self.train_labels, self.images), "train")
        where = self.images if self.val_images is None else self.val_images
        val_images = train.folder if where is None and not is_data_file(val_file) else image_folder(val_file, where)
        val = self._part(val_file, val_images, split, train.labels.classes)
        for part, what in ((train, "learn from"), (val, "measure by")):
            if not part.labels.targets.any():
                raise UserError(f"no image of {part.file} shows any of the classes: there is nothing to {what}")
        return Data(train, val)

    def _part(
        self,
        file: str | os.PathLike[str],
        folder: ImageRoot,
        split: str,
        classes: Sequence[str] | None = None,
    ) -> LabeledSplit:
        labels = read_labels(
            Path(file),
            folder,
            classes=classes,
            difficult=self.difficult,
            problems=self.label_problems,
            table=LabelTable.of(self),
            split=split,
            class_names=self.class_names,
        )
        return LabeledSplit(Path(file), folder, labels, self.difficult, split if is_data_file(Path(file)) else "")


def bounded(entries: Sequence[str], limit: int) -> dict[str, Any]:
    """Number of entries ("count") and the first ``limit`` of them ("first"), as plain data."""
    return {"count": len(entries), "first": list(entries[:limit])}
