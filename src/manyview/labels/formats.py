"""Recognizes the format of label files, and reads image labels or objects.

A format is a module of this folder that declares its ``FORMAT``, and an entry of ``FORMATS``. Lists of formats in
messages are made from these.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from manyview.errors import UserError
from manyview.labels import coco, csv, voc, yolo
from manyview.labels.entries import Contents, DetectionContents, LabelFiles, LabelFormat
from manyview.labels.paths import find_files
from manyview.labels.problems import no_outlines
from manyview.labels.table import LabelTable

FORMATS: tuple[LabelFormat, ...] = (csv.FORMAT, coco.FORMAT, voc.FORMAT, yolo.FORMAT)


def read_image_labels(
    file: Path,
    table: LabelTable = LabelTable(),  # noqa: B008 - it is frozen
    *,
    split: str = "train",
    names: Path | None = None,
) -> Contents:
    """Read image labels from a file or folder of any format.

    Args:
        file: the label file or folder.
        table: how a CSV file is laid out.
        split: of a data set's YAML file, the images to read.
        names: file that names the classes; None: found beside the label files.

    Raises:
        UserError: the file does not exist, has no known format, or cannot be read, or is no CSV file where something is
            said of its layout, or not of a format without names where such are given.
    """
    files = replace(_label_files(file), table=table, split=split, class_names=names)
    if table.given is not None and (files.names is not None or files.ending != ".csv"):
        raise UserError(f"{table.given} is for CSV files, which {file} is not: leave it out")
    readers = [(form, reader) for form in FORMATS for reader in form.labels]
    for form, reader in readers:
        if reader.recognizes(files):
            _check_names(form, files)
            return reader.read(files)
    known = _either([reader.about for _, reader in readers])
    raise UserError(f"{file} is no label file of a known format: labels may be {known}")


def read_objects(file: Path, *, masks: bool, split: str = "train", names: Path | None = None) -> DetectionContents:
    """Read objects from a file or folder of any format with objects.

    Args:
        file: the label file or folder.
        masks: whether to read masks.
        split: of a data set's YAML file, the images to read.
        names: file that names the classes; None: found beside the label files.

    Raises:
        UserError: the file does not exist, has no known format, or cannot be read, masks are requested from a format
            without masks or objects without any, or names are given for a format that has its own.
    """
    files = replace(_label_files(file), split=split, class_names=names)
    readers = [(form, reader) for form in FORMATS for reader in form.objects]
    for form, reader in readers:
        if not reader.recognizes(files):
            continue
        _check_names(form, files)
        if masks and not reader.masks:
            holders = " or ".join(dict.fromkeys(reader.masks for _, reader in readers if reader.masks))
            raise no_outlines(f"{file} holds {form.title}'s annotations, which have boxes", holders)
        return reader.read(files, masks)
    known = _either([reader.about for _, reader in readers])
    raise UserError(f"{file} does not say where objects are in a known format: detection needs {known}")


def _check_names(form: LabelFormat, files: LabelFiles) -> None:
    if files.class_names is not None and not form.class_names:
        raise UserError(
            f"--names is for YOLO's labels, whose classes are numbers; {files.path} names its classes: leave it out"
        )


def has_objects(file: Path) -> bool:
    """Whether a label file or folder is of a format that says where objects are."""
    files = _label_files(file)
    return any(reader.recognizes(files) for form in FORMATS for reader in form.objects)


def _either(choices: Sequence[str]) -> str:
    return f"{', '.join(choices[:-1])}, or {choices[-1]}"


def _label_files(path: Path) -> LabelFiles:
    """A label file, or the label files of a folder, which must have one extension.

    Raises:
        UserError: the file does not exist, or the folder cannot be searched or holds label files of several extensions.
    """
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises where a parent may not be searched
        raise UserError(f"the labels {path} does not exist: check its path")
    if not path.is_dir():
        return LabelFiles(path, path.suffix.lower())
    endings = dict.fromkeys(ending for form in FORMATS for ending in form.folder_endings)
    no_labels = frozenset[str]().union(*(form.no_labels for form in FORMATS))
    found = {ending: _without(find_files(path, ending), no_labels) for ending in endings}
    (ending, names), *others = [*((ending, names) for ending, names in found.items() if names), ("", ())]
    if others and others[0][1]:
        other, other_names = others[0]
        raise UserError(
            f"{path} holds both {ending} and {other} files, such as {names[0]} and {other_names[0]}: give a folder "
            "that holds labels of one format only"
        )
    return LabelFiles(path, ending, names)


def _without(names: Iterable[str], left_out: frozenset[str]) -> tuple[str, ...]:
    return tuple(name for name in names if Path(name).name not in left_out)
