"""Labels from YOLO text files: one file an image, found by its name, with one object a line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from manyview.errors import UserError
from manyview.labels.entries import Contents, Entry, occurring
from manyview.labels.files import numbered_lines, quoted, stem
from manyview.labels.problems import Malformed, Problem
from manyview.labels.yolo_names import class_names

ENDING = ".txt"

_LONGEST = 9  # digits of a class number; Python refuses to read very long ones
_ADVICE = "a line has the number of a class and at least four coordinates, and a line of the names for each number"


class YoloObject(NamedTuple):
    """What a line says.

    Attributes:
        kind: name of its class; its number, where classes have no names.
        coordinates: four of a box, or more of an outline or key points.
    """

    kind: str
    coordinates: tuple[float, ...]


def is_object(line: str) -> bool:
    """Whether a line has a class number and coordinates: four of a box, or more of an outline or key points."""
    number, *coordinates = line.split()
    try:
        finite = all(math.isfinite(float(value)) for value in coordinates)
    except ValueError:
        return False
    return len(coordinates) >= 4 and finite and number.isascii() and number.isdecimal() and len(number) <= _LONGEST


def read_object(line: str, names: Mapping[int, str] | None) -> YoloObject:
    """The object of a line.

    Args:
        line: it.
        names: of the classes by number, or None if there are none.

    Raises:
        Malformed: it has no such form, or a class without a name.
    """
    if not is_object(line):
        raise Malformed(f"is {quoted(line)}")
    first, *coordinates = line.split()
    number = int(first)
    if names is not None and number not in names:
        raise Malformed(f"has the class {number}, for which there is no name")
    return YoloObject(str(number) if names is None else names[number], tuple(map(float, coordinates)))


def are_yolo(folder: Path, files: Sequence[str]) -> bool:
    """Whether text files are YOLO's: one has a line such as YOLO's files have, or all are blank.

    Args:
        folder: of the files.
        files: their names.

    Raises:
        UserError: one cannot be read.
    """
    blank = True
    for name in files:
        lines = [line for _, line in numbered_lines(folder / name, errors="replace")]
        if any(is_object(line) for line in lines):
            return True
        blank = blank and not lines
    return bool(files) and blank


def readable_files(
    folder: Path, files: Iterable[str], problems: list[Problem]
) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Name and numbered lines of each label file that can be read; of the others, problems are added."""
    for name in files:
        try:
            yield name, numbered_lines(folder / name)
        except UserError as error:
            problems.append(Problem(str(error), "mend or remove it"))


def read_yolo(folder: Path, files: Iterable[str]) -> Contents:
    """Read label files, each for the image of the same name and place; an empty one is for an image without objects.

    Classes are named by ``classes.txt`` or ``data.yaml`` (see ``class_names``), or by their numbers.

    Args:
        folder: of the label files.
        files: their names.

    Raises:
        UserError: the names of the classes cannot be read.
    """
    names = class_names(folder)
    entries: list[Entry] = []
    problems: list[Problem] = []
    for name, lines in readable_files(folder, files, problems):
        shown = set()
        for place, line in lines:
            try:
                shown.add(read_object(line, names).kind)
            except Malformed as error:
                problems.append(Problem(f"line {place} of {name} {error}", _ADVICE))
                break
        else:
            entries.append(Entry(name, stem(name), frozenset(shown)))
    if names is None:
        return Contents(entries, problems, sorted(occurring(entries), key=int), declares_classes=False)
    return Contents(entries, problems, list(names.values()))
