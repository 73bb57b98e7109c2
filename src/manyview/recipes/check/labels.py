"""What label files say of the images, and what in them looks like a mistake."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manyview.errors import UserError
from manyview.images import ImageFiles, ImageRoot
from manyview.labels import DataFile, is_data_file
from manyview.labels.formats import has_objects
from manyview.labels.read_image_labels import read_labels
from manyview.labels.read_objects import read_annotations
from manyview.labels.table import LabelTable
from manyview.options.base import StrPath

_APART = re.compile(r"[\W_]+")  # what names of the same class may differ in, besides their case


@dataclass(frozen=True)
class Labeled:
    """A label file that could be read.

    Attributes:
        file: the file or folder, and of a data set's YAML file the split, as shown.
        names: of its images.
        counts: of the images that show each class, by its name.
        unlabeled: images that show none.
        objects: number of objects; None for image labels alone.
        problems: a sentence for each entry that cannot be used.
        notes: sentences on how it was read, and on boxes that are cut or have no area.
    """

    file: str
    names: tuple[str, ...]
    counts: dict[str, int]
    unlabeled: int
    objects: int | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def read_splits(
    file: Path, images: ImageRoot, table: LabelTable, class_names: StrPath | None = None
) -> Iterator[Labeled]:
    """Read a label file, of a data set's YAML file every split that is there, leaving out what cannot be used.

    Raises:
        UserError: it cannot be read at all.
    """
    if not is_data_file(file):
        yield _read(file, images, table, class_names)
        return
    data = DataFile.read(file)
    for split in data.written:
        if split != "test" or data.has_labels(split):  # those of a competition are not public
            yield _read(file, images, table, class_names, split)


def _read(
    file: Path, images: ImageRoot, table: LabelTable, class_names: StrPath | None, split: str | None = None
) -> Labeled:
    named: dict[str, Any] = {"class_names": class_names, "split": split or "train"}
    labels = read_labels(file, images, difficult="positive", problems="skip", table=table, **named)
    counts = dict(zip(labels.classes, labels.targets.sum(axis=0, dtype=np.int64).tolist(), strict=True))
    problems, notes, objects = dict.fromkeys(labels.skipped), dict.fromkeys(labels.notes), None
    if has_objects(file):
        try:
            found = read_annotations(file, images, problems="skip", **named)
            objects = sum(map(len, found.objects))
            problems |= dict.fromkeys(found.skipped)
            notes |= dict.fromkeys(found.notes)
        except UserError as error:
            problems[str(error)] = None
    unlabeled = int((labels.targets.sum(axis=1) == 0).sum())
    title = f"{file} ({split})" if split else str(file)
    return Labeled(title, labels.names, counts, unlabeled, objects, tuple(problems), tuple(notes))


def alike(classes: Sequence[str]) -> list[list[str]]:
    """Classes whose names differ in case, blanks and punctuation alone."""
    by_form: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(classes)):
        by_form[_APART.sub("", name.casefold()) or name].append(name)
    return [names for names in by_form.values() if len(names) > 1]


def not_named(files: ImageFiles, labels: Sequence[Labeled]) -> int:
    """Number of images that no label file names."""
    named = {name for each in labels for name in each.names}
    return sum(name not in named for name in files)
