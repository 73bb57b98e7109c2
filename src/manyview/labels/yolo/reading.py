"""Reads image labels and objects from YOLO's text files, one per image with one object a line.

A line has the number of a class and fractions of the image's width and height: a box's center, width and height
(https://docs.ultralytics.com/datasets/detect/), perhaps followed by key points (.../pose/), or x and y of an
outline's corners (.../segment/, .../obb/). ``classes.txt``, ``data.yaml`` or CVAT's ``obj.names``
(https://docs.cvat.ai/docs/dataset_management/formats/format-yolo) give the names of classes, and ``data.yaml`` the
shape of key points. Given itself, such a YAML file of any name also says which images there are (``data_file``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from manyview.errors import UserError
from manyview.images.formats import named_like_an_image
from manyview.images.name_forms import stem
from manyview.labels.entries import (
    CENTER,
    Contents,
    DetectionContents,
    Entry,
    LabeledBox,
    LabeledImage,
    LabeledObject,
    LabelFiles,
    LabelFormat,
    LabelReader,
    ObjectReader,
    occurring,
)
from manyview.labels.identifiers import Identifier
from manyview.labels.masks import box_of_corners
from manyview.labels.paths import numbered_lines, quoted
from manyview.labels.problems import Malformed, Problem, no_outlines
from manyview.labels.yolo.data_file import DataFile, is_data_file
from manyview.labels.yolo.names import LISTS, Names, find_key_points, find_names, read_names

_ENDING = ".txt"

_NUMBER = re.compile(r"\+?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")  # of a class
_LONGEST = 9  # digits of a class number
_BOX = 4  # numbers of a box
_OUTLINE = 6  # numbers of an outline, at least
_ROUNDING = 0.01  # beyond 0 and 1, which Ultralytics accepts, too
_NUMBERS = "the classes have no names and are called 0, 1, ..."
_NAMELESS = (
    f"{_NUMBERS}, as no classes.txt, data.yaml or obj.names is beside the label files or above their folder labels or "
    "obj_train_data: --names FILE gives them, one a line or a data.yaml"
)
_LABELS = "a line has the number of a class and at least four coordinates, and a line of the names for each number"
_OBJECTS = (
    "a line has the number of a class that has a name, and then a box's center, width and height or x and y of an "
    "outline's corners, as shares of the image from 0 to 1"
)


# Lines and files.


class _Line(NamedTuple):
    """A parsed line.

    Attributes:
        class_name: name of its class; its number, where classes have no names.
        coordinates: four of a box, or more of an outline or key points.
    """

    class_name: str
    coordinates: tuple[float, ...]


def is_object(line: str) -> bool:
    """Whether a line has a class number and coordinates: four of a box, or more of an outline or key points."""
    return _parse(line) is not None


def _parse(line: str) -> tuple[int, tuple[float, ...]] | None:
    """Class number and coordinates of a line; None if it is no object."""
    first, *others = line.split()
    number = _class_number(first)
    try:
        coordinates = tuple(map(float, others))
    except ValueError:
        return None
    if number is None or len(coordinates) < _BOX or not all(map(math.isfinite, coordinates)):
        return None
    return number, coordinates


def _class_number(text: str) -> int | None:
    """Number of a class, also in the notation of a decimal number, such as 1.0 or 1e+00; None for anything else."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return int(number) if number.is_integer() and number < 10**_LONGEST else None


def _read_line(line: str, names: Mapping[int, str] | None) -> _Line:
    """Parse a line.

    Args:
        line: of a label file.
        names: of the classes by number, or None if there are none.

    Raises:
        Malformed: it has another format, or a class without a name.
    """
    parsed = _parse(line)
    if parsed is None:
        raise Malformed(f"is {quoted(line)}")
    number, coordinates = parsed
    if names is not None and number not in names:
        raise Malformed(f"has the class {number}, for which there is no name")
    return _Line(str(number) if names is None else names[number], coordinates)


def are_yolo(files: LabelFiles) -> bool:
    """Whether a folder's text files are YOLO's: one has a line in YOLO's format, or all are blank.

    Raises:
        UserError: one cannot be read.
    """
    if not files.names or files.ending != _ENDING:
        return False
    blank = True
    for name in files.names:
        lines = [line for _, line in numbered_lines(files.path / name, errors="replace")]
        if any(is_object(line) for line in lines):
            return True
        blank = blank and not lines
    return blank


@dataclass(frozen=True)
class _Labeled:
    """The label files of a folder, or of a split of a data set.

    Attributes:
        images: location and lines of each label file, and its image as named there.
        names: of the classes; None where there are none.
        key_points: numbers of key points behind each box; None for none.
        by_stem: whether images are named without their extension.
        notes: on images without label files, and on missing names.
    """

    images: list[tuple[str, str, list[tuple[int, str]]]]
    names: Names | None
    key_points: int | None
    by_stem: bool
    notes: tuple[str, ...]


def _open(files: LabelFiles, problems: list[Problem], *, objects: bool) -> _Labeled:
    """Label files with their lines; for those that cannot be read, problems are added.

    Args:
        files: the label files.
        problems: list to which they are added.
        objects: whether the shape of key points is needed.

    Raises:
        UserError: the names of the classes, the shape of key points or the images of a split cannot be read.
    """
    named = None if files.class_names is None else read_names(files.class_names)
    if files.names is None:
        return _open_split(files, named, problems)
    found = []
    for name in files.names:
        lines = _lines(files.path / name, problems)
        if lines is not None and not _lists_images(lines):
            found.append((name, stem(name), lines))
    names = named or find_names(files.path)
    key_points = find_key_points(files.path) if objects else None
    return _Labeled(found, names, key_points, True, () if names else (_NAMELESS,))


def _open_split(files: LabelFiles, named: Names | None, problems: list[Problem]) -> _Labeled:
    """As ``_open``, for a split of a YAML file; an image without a label file shows nothing, as Ultralytics has it."""
    data = DataFile.read(files.path)
    pairs = data.label_files(files.split)
    found: list[tuple[str, str, list[tuple[int, str]]]] = []
    for image, file in pairs:
        lines = [] if file is None else _lines(file, problems)
        if lines is not None:
            found.append((f"{files.split} of {data.file.name}" if file is None else data.shown(file), image, lines))
    names, notes = named or data.names, []
    if names is None:
        notes.append(f"{_NUMBERS}, as {data.file} has no names: add them to it, or give --names FILE, one a line")
    unlabeled = sum(file is None for _, file in pairs)
    if unlabeled:
        notes.append(
            f"{unlabeled:,} of the {len(pairs):,} images of {files.split} have no label file and count as showing "
            f"none of the classes"
        )
    return _Labeled(found, names, data.key_points, False, tuple(notes))


def _lines(file: Path, problems: list[Problem]) -> list[tuple[int, str]] | None:
    """Numbered lines of a label file; None and a problem if it cannot be read."""
    try:
        return numbered_lines(file)
    except UserError as error:
        problems.append(Problem(str(error), "repair or remove it"))
        return None


def _lists_images(lines: Sequence[tuple[int, str]]) -> bool:
    """Whether all lines are names of images, as in the train.txt beside darknet's folders of labels."""
    return bool(lines) and all(named_like_an_image(line) for _, line in lines)


# Image labels.


def _read_labels(files: LabelFiles) -> Contents:
    """Read label files, each for the image of the same relative name; an empty one is for an image without objects.

    Raises:
        UserError: the names of the classes or the images of a split cannot be read.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    found = _open(files, problems, objects=False)
    for where, image, lines in found.images:
        shown = set()
        for number, line in lines:
            try:
                shown.add(_read_line(line, found.names).class_name)
            except Malformed as error:
                problems.append(Problem(f"line {number} of {where} {error}", _LABELS))
                break
        else:
            entries.append(Entry(where, image, frozenset(shown)))
    named = found.names is not None
    classes = list(found.names.values()) if found.names is not None else sorted(occurring(entries), key=int)
    return Contents(entries, problems, classes, declares_classes=named, by_stem=found.by_stem, notes=found.notes)


# Objects.


def _read_objects(files: LabelFiles, masks: bool) -> DetectionContents:
    """Read label files, each for the image of the same relative name.

    Args:
        files: the label files.
        masks: whether to keep outlines, which are then required.

    Raises:
        UserError: the names of the classes, the shape of key points or the images of a split cannot be read; or masks
            are wanted where all objects have boxes alone.
    """
    entries: list[LabeledImage] = []
    problems: list[Problem] = []
    found = _open(files, problems, objects=True)
    if masks:
        _require_outlines(files, found)
    for where, image, lines in found.images:
        objects = []
        for number, line in lines:
            at = f"line {number} of {where}"
            try:
                objects.append(_object(at, _read_line(line, found.names), found.key_points, masks=masks))
            except Malformed as error:
                problems.append(Problem(f"{at} {error}", _OBJECTS))
        entries.append(LabeledImage(where, image, objects=tuple(objects)))
    classes = (found.names or {}).values()
    category_ids: dict[str, Identifier] = {name: order for order, name in enumerate(classes, start=1)}
    return DetectionContents(
        entries,
        problems,
        category_ids,
        by_stem=found.by_stem,
        in_shares=True,
        box_layout=CENTER,
        notes=found.notes,
    )


def _require_outlines(files: LabelFiles, found: _Labeled) -> None:
    """Refuse to make masks of label files all of whose objects have boxes alone."""
    parsed = (_parse(line) for _, _, lines in found.images for _, line in lines)
    if found.key_points is not None or all(each is None or len(each[1]) == _BOX for each in parsed):
        raise no_outlines(f"{files.path} holds boxes", "x and y of each corner behind the class, instead of a box")


def _object(where: str, line: _Line, key_points: int | None, *, masks: bool) -> LabeledObject:
    """An object whose box and outline are fractions of the image's sides."""
    class_name, coordinates = line
    if key_points is not None:
        if len(coordinates) != _BOX + key_points:
            raise Malformed(f"has {len(coordinates)} numbers instead of a box's 4 and {key_points} of key points")
        coordinates = coordinates[:_BOX]
    beyond = next((value for value in coordinates if not -_ROUNDING <= value <= 1 + _ROUNDING), None)
    if beyond is not None:
        raise Malformed(f"has {beyond:g}, which is not from 0 to 1")
    if len(coordinates) == _BOX:
        if masks:
            raise Malformed("has a box, but no outline, which masks are made of")
        return LabeledObject(where, class_name, _box(coordinates))
    if len(coordinates) < _OUTLINE or len(coordinates) % 2:
        raise Malformed(f"has {len(coordinates)} numbers, where a box has 4 and an outline two for each corner")
    outline = [list(coordinates)] if masks else None
    return LabeledObject(where, class_name, box_of_corners(coordinates), segmentation=outline)


def _box(coordinates: Sequence[float]) -> LabeledBox:
    x, y, width, height = coordinates
    return x - width / 2, y - height / 2, width, height


def _is_data_file(files: LabelFiles) -> bool:
    return files.names is None and is_data_file(files.path)


_ABOUT, _ABOUT_DATA = "a folder of YOLO's .txt files", "a data.yaml of Ultralytics' or Roboflow's layout"
FORMAT = LabelFormat(
    name="yolo",
    title="YOLO",
    labels=(LabelReader(_ABOUT_DATA, _is_data_file, _read_labels), LabelReader(_ABOUT, are_yolo, _read_labels)),
    objects=(
        ObjectReader(_ABOUT_DATA, _is_data_file, _read_objects, masks="YOLO's outlines"),
        ObjectReader(_ABOUT, are_yolo, _read_objects, masks="YOLO's outlines"),
    ),
    folder_endings=(_ENDING,),
    no_labels=frozenset(name for name in LISTS if name.endswith(_ENDING)),
    class_names=True,
)
