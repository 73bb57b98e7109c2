"""Recognising the kind of a label file, by its ending and what is in it."""

from __future__ import annotations

import os
from pathlib import Path

from manyview.errors import UserError
from manyview.labels import voc as voc_xml
from manyview.labels import voc_lists, yolo, yolo_names
from manyview.labels.coco import read_coco
from manyview.labels.csv import read_csv
from manyview.labels.entries import Contents
from manyview.labels.files import find_files, numbered_lines

KINDS = (
    "a .csv with the columns image,labels, a COCO instances .json, a list of Pascal VOC's ImageSets/Main (.txt) or a "
    "folder of those of one split, a folder of Pascal VOC's .xml annotations, or a folder of YOLO's .txt files"
)


def read_contents(file: Path) -> Contents:
    """Read a label file or folder of any kind.

    Raises:
        UserError: there is none, it is of no known kind, or it cannot be read.
    """
    if not os.path.exists(file):  # noqa: PTH110 - Path.exists raises where a parent may not be searched
        raise UserError(f"the labels {file} does not exist: check its path")
    if file.is_dir():
        return _read_folder(file)
    match file.suffix.lower():
        case ".csv":
            return read_csv(file)
        case ".json":
            return read_coco(file)
        case voc_lists.ENDING:
            return _read_list(file)
        case _:
            raise _unrecognised(file)


def _unrecognised(file: Path) -> UserError:
    return UserError(f"{file} is no label file of a known kind: labels may be {KINDS}")


def _read_list(file: Path) -> Contents:
    """Read a list of ImageSets/Main: of one class, or of the images of a split whose labels lie elsewhere."""
    lines = [line for _, line in numbered_lines(file)]
    if any(yolo.is_object(line) for line in lines):
        raise _unrecognised(file)
    if any(voc_lists.split_value(line) for line in lines):
        name, _ = voc_lists.class_and_split(file)
        if not name:
            raise UserError(f"{file} must be called CLASS_SPLIT.txt, as its class is known from nothing but its name")
        return voc_lists.read_class_lists({name: file})
    places = [parent / "Annotations" for parent in list(file.absolute().parents)[:3]]
    annotations = next((place for place in places if place.is_dir()), None)
    if annotations is not None:
        return voc_xml.read_listed_annotations(file, annotations)
    lists = voc_lists.lists_of_split(file.parent, file.stem)
    if lists:
        return voc_lists.read_class_lists(lists)
    raise UserError(
        f"{file} only lists images, and there is neither a folder Annotations beside or up to two levels above it nor "
        f"a CLASS_{file.name} beside it to give their labels"
    )


def annotations_or_texts(folder: Path) -> tuple[list[str], list[str]]:
    """Names of a folder's XML files, or of its text files; lists of classes' names do not count.

    Raises:
        UserError: it has both, or cannot be searched.
    """
    annotations = find_files(folder, voc_xml.ENDING)
    texts = [name for name in find_files(folder, yolo.ENDING) if Path(name).name != yolo_names.LIST]
    if annotations and texts:
        raise UserError(
            f"{folder} holds both .xml and .txt files, such as {annotations[0]} and {texts[0]}: give a folder that "
            "holds labels of one kind only"
        )
    return annotations, texts


def _read_folder(folder: Path) -> Contents:
    annotations, texts = annotations_or_texts(folder)
    if annotations:
        return voc_xml.read_annotations(folder, annotations)
    if yolo.are_yolo(folder, texts):
        return yolo.read_yolo(folder, texts)
    lists = [name for name in texts if _is_class_list(folder, name)]
    if lists:
        return voc_lists.read_class_lists(voc_lists.lists_of_folder(folder, lists))
    raise _unrecognised(folder)


def _is_class_list(folder: Path, name: str) -> bool:
    if "/" in name or not voc_lists.class_and_split(Path(name))[0]:
        return False
    return any(voc_lists.split_value(line) for _, line in numbered_lines(folder / name, errors="replace"))
