"""Labels from YOLO text files: one file an image, found by its name, with one object a line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from manyview.errors import UserError
from manyview.images.labels.contents import Contents, Entry, occurring
from manyview.images.labels.files import numbered_lines, quoted, stem
from manyview.images.labels.problems import Malformed, Problem
from manyview.images.labels.yolo_names import class_names

_ADVICE = "a line has the number of a class and at least four coordinates, and a line of the names for each number"


def is_object(line: str) -> bool:
    """Whether a line has a class number and coordinates: four of a box, or more of an outline or key points."""
    number, *coordinates = line.split()
    try:
        finite = all(math.isfinite(float(value)) for value in coordinates)
    except ValueError:
        return False
    return len(coordinates) >= 4 and finite and number.isascii() and number.isdecimal()


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
    for name in files:
        try:
            entries.append(Entry(name, stem(name), _classes(folder / name, names)))
        except Malformed as error:
            problems.append(Problem(f"{name} {error}", _ADVICE))
        except UserError as error:
            problems.append(Problem(str(error), "mend or remove it"))
    if names is None:
        return Contents(entries, problems, sorted(occurring(entries), key=int), declares_classes=False)
    return Contents(entries, problems, list(names.values()))


def _classes(file: Path, names: dict[int, str] | None) -> frozenset[str]:
    """Classes of the objects of an image."""
    numbers = set()
    for place, line in numbered_lines(file):
        if not is_object(line):
            raise Malformed(f"has {quoted(line)} in line {place}")
        number = int(line.split()[0])
        if names is not None and number not in names:
            raise Malformed(f"has the class {number} in line {place}, for which there is no name")
        numbers.add(number)
    return frozenset(str(number) if names is None else names[number] for number in numbers)
