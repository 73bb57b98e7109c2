"""Reads multi-label image labels from a label file of any format, and reports entries that cannot be used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import UInt8

from manyview.errors import UserError, first_few
from manyview.images import ImageRoot
from manyview.images.files import check_folder
from manyview.labels.entries import Contents, Entry, occurring
from manyview.labels.formats import read_image_labels
from manyview.labels.paths import ImageNames
from manyview.labels.problems import Problem, check_choice, nearest_class, refusal, unique_entries
from manyview.labels.table import LabelTable
from manyview.labels.yolo import image_folder
from manyview.options.base import StrPath
from manyview.options.shared import Difficult, Problems

Table = UInt8[np.ndarray, "images classes"]


@dataclass(frozen=True)
class ImageLabels:
    """Multi-label targets of images.

    Attributes:
        names: images, relative to their folder, in the order of the label file.
        classes: names of the classes, in the order of the columns.
        targets: 1 where the image shows the class, else 0.
        ignored: 1 where the image has only "difficult" objects of the class, so that neither 1 nor 0 would be right: to
            be left out of losses and metrics. The target is 0 there. None if there is no such label.
        skipped: a sentence for each entry that was left out because of a problem.
        notes: sentences on how the file was read.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    targets: UInt8[np.ndarray, "images classes"]
    ignored: UInt8[np.ndarray, "images classes"] | None = None
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over all but ``skipped`` and ``notes``; equal for equal labels of any formats."""
        digest = hashlib.sha256(json.dumps([self.names, self.classes]).encode())
        digest.update(self.targets.tobytes())
        if self.ignored is not None:
            digest.update(self.ignored.tobytes())
        return digest.hexdigest()


def read_labels(
    file: Path,
    images: StrPath | ImageRoot | None = None,
    classes: Sequence[str] | None = None,
    *,
    difficult: Difficult = "ignore",
    problems: Problems = "refuse",
    table: LabelTable = LabelTable(),  # noqa: B008 - it is frozen
    split: str = "train",
    class_names: StrPath | None = None,
) -> ImageLabels:
    """Read image-level labels of any of these formats, recognized by extension and content.

    - ``.csv``: the columns ``image`` and ``labels`` (joined by ``|``; none is allowed), or others that ``table`` names;
      further columns are ignored. Cells that evidently have another separator are refused.
    - COCO instances ``.json``: every entry of its ``images``, also those without objects, and every object, crowds
      included.
    - Pascal VOC's ``ImageSets/Main``: ``SPLIT.txt``, which reads the XML of its images in ``Annotations`` beside or up
      to two levels above it, or, without such, all ``CLASS_SPLIT.txt`` beside it; one ``CLASS_SPLIT.txt`` for that
      class alone; or a folder with the ``CLASS_SPLIT.txt`` of a single split.
    - A folder of Pascal VOC's XML annotations.
    - A folder of YOLO's text files, with the names of the classes in ``classes.txt``, ``data.yaml``, ``obj.names`` or
      another ``.names`` in it or above its folder ``labels`` or ``obj_train_data``; without them, the classes are named
      by their numbers.
    - A YAML file of any name, as Ultralytics and Roboflow write them, with ``names`` and the images of ``train``,
      ``val`` and ``test``. Of these an image without a label file shows nothing.

    Images are those that the labels name, in their order or, for folders, in that of the files' names. VOC and YOLO
    name them without their extension, which is found in the folder of images. A name that no file has may differ in
    form from that of exactly one (``images.name_forms.NameForms``). An image without a file of its own among XML or
    YOLO files is not labeled at all; a file without objects means an image without objects.

    Args:
        file: the label file or folder.
        images: folder to which the names of images are relative, or shards as ``images.image_root`` takes them; None:
            that of the images that a YAML file names.
        classes: classes to use, in this order, e.g. those of the training labels. Unset: all categories of a COCO file
            or names of YOLO classes in the order of their numbers, else all labels in alphabetical order.
        difficult: treatment of a class of which an image has only objects that VOC flags as difficult: left out of
            losses and metrics ("ignore"), or a positive label ("positive").
        problems: treatment of images that are missing or outside of the folder, named twice, of a class that is not
            among ``classes``, and of malformed entries: a ``UserError`` ("refuse"), or such images are left out
            with all their labels and listed in ``skipped`` ("skip"). Of repeated entries that agree, the first stays.
        table: columns and separator of labels of a CSV file.
        split: of a YAML file, the images to read: "train", "val" or "test".
        class_names: file that names YOLO's classes, one a line or a YAML file; None: found as described.

    Raises:
        UserError: the file is missing, of no known format, malformed as a whole, or has a problem that is not to be
            skipped; or no image or no class is left.
    """
    check_choice("difficult", difficult, get_args(Difficult))
    check_choice("problems", problems, get_args(Problems))
    root = image_folder(file, images)
    check_folder(root)
    names_file = None if class_names is None else Path(class_names)
    contents = read_image_labels(file, table, split=split, names=names_file)
    found = list(contents.problems)
    located = ImageNames(root, contents.by_stem).located(contents.entries, found)
    entries = unique_entries(located, lambda entry: (entry.shown, entry.difficult), found, content="labels")
    if classes is None:
        used = occurring(entries)
        columns = tuple(name for name in contents.classes if contents.declares_classes or name in used)
    else:
        columns = tuple(classes)
        _check_classes(columns, contents, file)
        entries = _known(entries, columns, found)
    if found and (problems == "refuse" or not entries):
        raise refusal(found, file, can_skip=bool(entries))
    if not entries:
        raise UserError(f"{file} names no images")
    if not columns:
        raise UserError(f"{file} holds no label at all: at least one image must have one")
    names = tuple(entry.image for entry in entries)
    skipped = tuple(problem.line for problem in found)
    return ImageLabels(names, columns, *_tables(entries, columns, difficult), skipped, contents.notes)


def _check_classes(columns: Sequence[str], contents: Contents, file: Path) -> None:
    if len(set(columns)) < len(columns):
        raise UserError(f"the classes {', '.join(columns)} are not all different: name each once")
    lacking = [name for name in columns if name not in contents.classes]
    if lacking and not contents.covers_other_classes:
        raise UserError(
            f"{file} has no list of {first_few(lacking)}, so that it does not say which images show these "
            "classes: give the lists of all classes"
        )


def _known(entries: Sequence[Entry], columns: tuple[str, ...], problems: list[Problem]) -> list[Entry]:
    """Entries without unknown classes."""
    known = []
    for entry in entries:
        unknown = sorted((entry.shown | entry.difficult) - set(columns))
        if unknown:
            hint = nearest_class(unknown[0], columns)
            sentence = f"{entry.where} gives {entry.image} the unknown class {unknown[0]!r}{hint}"
            problems.append(Problem(sentence, "correct the name or remove the label"))
        else:
            known.append(entry)
    return known


def _tables(entries: Sequence[Entry], columns: Sequence[str], difficult: Difficult) -> tuple[Table, Table | None]:
    """Targets, and a mask of those to ignore, if any."""
    column = {name: index for index, name in enumerate(columns)}
    targets, ignored = np.zeros((2, len(entries), len(columns)), dtype=np.uint8)
    doubtful = targets if difficult == "positive" else ignored
    for row, entry in enumerate(entries):
        doubtful[row, [column[label] for label in entry.difficult]] = 1
        targets[row, [column[label] for label in entry.shown]] = 1
    return targets, ignored if ignored.any() else None
