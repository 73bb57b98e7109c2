"""Reads image labels and objects from YOLO's text files, one per image with one object a line.

A line has the number of a class and fractions of the image's width and height: a box's center, width and height
(https://docs.ultralytics.com/datasets/detect/), perhaps followed by key points (.../pose/), or x and y of an
outline's corners (.../segment/, .../obb/). ``classes.txt``, ``data.yaml`` or CVAT's ``obj.names``
(https://docs.cvat.ai/docs/dataset_management/formats/format-yolo) give the names of classes, and ``data.yaml`` the
shape of key points.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from manyview.errors import UserError
from manyview.images.files import read_text
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
from manyview.labels.problems import Malformed, Problem
from manyview.parsing import parse_yaml

_ENDING = ".txt"
_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt")  # one name a line, from class 0 on
_DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_DATA_FOLDER = re.compile(r"obj_\w+_data", re.IGNORECASE)  # beside which CVAT's YOLO 1.1 has obj.names

_NUMBER = re.compile(r"\+?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")  # of a class
_LONGEST = 9  # digits of a class number
_BOX = 4  # numbers of a box
_OUTLINE = 6  # numbers of an outline, at least
_ROUNDING = 0.01  # beyond 0 and 1, which Ultralytics accepts, too
_NAMELESS = (
    "classes are called by their numbers, as no classes.txt, data.yaml or obj.names with their names is beside the "
    "label files or above their folder labels or obj_train_data"
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


def _readable(files: LabelFiles, problems: list[Problem]) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Name and numbered lines of each label file that can be read; for the others, problems are added."""
    for name in files.names or ():
        try:
            lines = numbered_lines(files.path / name)
        except UserError as error:
            problems.append(Problem(str(error), "repair or remove it"))
            continue
        if not _lists_images(lines):
            yield name, lines


def _lists_images(lines: Sequence[tuple[int, str]]) -> bool:
    """Whether all lines are names of images, as in the train.txt beside darknet's folders of labels."""
    return bool(lines) and all(named_like_an_image(line) for _, line in lines)


# Image labels.


def _read_labels(files: LabelFiles) -> Contents:
    """Read label files, each for the image of the same relative name; an empty one is for an image without objects.

    Classes are named by ``classes.txt`` or ``data.yaml`` (see ``_class_names``), or by their numbers.

    Raises:
        UserError: the names of the classes cannot be read.
    """
    names = _class_names(files.path)
    entries: list[Entry] = []
    problems: list[Problem] = []
    for name, lines in _readable(files, problems):
        shown = set()
        for number, line in lines:
            try:
                shown.add(_read_line(line, names).class_name)
            except Malformed as error:
                problems.append(Problem(f"line {number} of {name} {error}", _LABELS))
                break
        else:
            entries.append(Entry(name, stem(name), frozenset(shown)))
    if names is None:
        return Contents(
            entries, problems, sorted(occurring(entries), key=int), declares_classes=False, notes=(_NAMELESS,)
        )
    return Contents(entries, problems, list(names.values()))


# Objects.


def _read_objects(files: LabelFiles, masks: bool) -> DetectionContents:
    """Read label files, each for the image of the same relative name.

    Args:
        files: the label files.
        masks: whether to keep outlines, which are then required.

    Raises:
        UserError: the names of the classes or the shape of key points cannot be read.
    """
    names, key_points = _class_names(files.path), _key_point_values(files.path)
    entries: list[LabeledImage] = []
    problems: list[Problem] = []
    for name, lines in _readable(files, problems):
        objects = []
        for number, line in lines:
            where = f"line {number} of {name}"
            try:
                objects.append(_object(where, _read_line(line, names), key_points, masks=masks))
            except Malformed as error:
                problems.append(Problem(f"{where} {error}", _OBJECTS))
        entries.append(LabeledImage(name, stem(name), objects=tuple(objects)))
    notes = () if names else (_NAMELESS,)
    category_ids: dict[str, Identifier] = {name: order for order, name in enumerate((names or {}).values(), start=1)}
    return DetectionContents(entries, problems, category_ids, in_shares=True, box_layout=CENTER, notes=notes)


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


# Names of classes, and shape of key points.


def _class_names(folder: Path) -> dict[int, str] | None:
    """Names of the classes by number, ascending, or None if there are none.

    They are in a ``classes.txt``, ``obj.names`` or another ``.names`` (one name a line, from class 0 on), or under
    ``names`` in a ``data.yaml`` (a list, or names by number) in the folder of the label files, or, if this is
    ``labels``, ``SPLIT/labels``, ``labels/SPLIT`` or CVAT's ``obj_SPLIT_data``, up to two levels above it. The nearest
    counts.

    Args:
        folder: of the label files.

    Raises:
        UserError: such a file is malformed, or two in one folder differ.
    """
    for parent in _metadata_folders(folder):
        files = [parent / name for name in (*_LISTS, *_DATA_FILES) if (parent / name).is_file()]
        if not files:  # darknet's lists of names have any name, such as coco.names
            files = sorted(file for file in parent.glob("*.names") if file.is_file())
        if files:
            first, *others = [_read_names(file) for file in files]
            if any(other != first for other in others):
                raise UserError(f"{' and '.join(map(str, files))} name different classes: remove the wrong one")
            return first
    return None


def _key_point_values(folder: Path) -> int | None:
    """Numbers of key points that follow each box, or None if the labels have none.

    This is the product of ``kpt_shape`` in the nearest ``data.yaml``, found as in ``_class_names``.

    Args:
        folder: of the label files.

    Raises:
        UserError: such a file is malformed.
    """
    files = (parent / name for parent in _metadata_folders(folder) for name in _DATA_FILES)
    nearest = next((file for file in files if file.is_file()), None)
    data = None if nearest is None else _load_yaml(nearest)
    if not isinstance(data, dict) or "kpt_shape" not in data:
        return None
    try:
        if not isinstance(data["kpt_shape"], list):
            raise ValueError
        points, values = (int(side) for side in data["kpt_shape"])
    except (TypeError, ValueError):
        raise UserError(
            f"{nearest} must have as kpt_shape a list of two numbers: of points, and of values of each"
        ) from None
    return points * values


def _metadata_folders(folder: Path) -> list[Path]:
    """Folders that may hold ``classes.txt`` or ``data.yaml``, the nearest first."""
    here = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve would follow links, away from the names
    inner = any(name == "labels" or _DATA_FOLDER.fullmatch(name) for name in (here.name, here.parent.name))
    return [here, *(list(here.parents)[:2] if inner else [])]


def _read_names(file: Path) -> dict[int, str]:
    names = _named_in_data(file) if file.name in _DATA_FILES else _listed_names(file)
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise UserError(f"{file} names {twice[0]!r} more than once: each class needs a name of its own")
    if not all(names.values()):
        raise UserError(f"{file} leaves a class without a name: each class needs one")
    return dict(sorted(names.items()))


def _listed_names(file: Path) -> dict[int, str]:
    return {number: line.strip() for number, line in enumerate(read_text(file, "names").rstrip().split("\n"))}


def _load_yaml(file: Path) -> Any:
    text = read_text(file, "names")
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise UserError(f"{file} is not YAML: {error}") from error


def _named_in_data(file: Path) -> dict[int, str]:
    data = _load_yaml(file)
    names = data.get("names") if isinstance(data, dict) else None
    by_number = dict(enumerate(names)) if isinstance(names, list) else names
    if (
        not isinstance(by_number, dict)
        or not by_number
        or not all(isinstance(name, str) for name in by_number.values())
    ):
        raise UserError(f"{file} must have names: a list of the classes' names, or the names by number")
    try:
        return {int(number): name.strip() for number, name in by_number.items()}
    except ValueError as error:
        raise UserError(f"{file} has names by keys other than the classes' numbers ({error})") from error


_ABOUT = "a folder of YOLO's .txt files"
FORMAT = LabelFormat(
    name="yolo",
    title="YOLO",
    labels=(LabelReader(_ABOUT, are_yolo, _read_labels),),
    objects=(ObjectReader(_ABOUT, are_yolo, _read_objects, masks="YOLO's outlines"),),
    folder_endings=(_ENDING,),
    no_labels=frozenset(name for name in _LISTS if name.endswith(_ENDING)),
)
