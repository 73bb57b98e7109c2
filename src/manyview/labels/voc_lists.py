"""Labels from Pascal VOC's ImageSets/Main: for each class a list of all images with 1, 0 (difficult) or -1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from manyview.errors import UserError
from manyview.labels.entries import Contents, Entry
from manyview.labels.files import find_files, numbered_lines, quoted
from manyview.labels.problems import Problem

ENDING = ".txt"

Values = dict[str, tuple[int, int]]
"""Line and value of each image of a list."""

_VALUES = {"-1": -1, "0": 0, "1": 1}
_ADVICE = "a line has an image and 1 where it shows the class, 0 where only as a difficult object, else -1"


def class_and_split(file: Path) -> tuple[str, str]:
    """The parts of a name such as ``dog_train.txt``; the class is empty where the name has no such form."""
    name, _, split = file.stem.rpartition("_")
    return name, split


def split_value(line: str) -> tuple[str, int] | None:
    """Image and value of a line of a list, or None if it has no such form."""
    name, *value = line.rsplit(None, 1)
    return (name, _VALUES[value[0]]) if value and value[0] in _VALUES else None


def lists_of_split(folder: Path, split: str) -> dict[str, Path]:
    """All lists of one split in a folder, by class.

    Raises:
        UserError: the folder cannot be searched.
    """
    files = [folder / name for name in find_files(folder, ENDING, recursive=False)]
    named = [(*class_and_split(file), file) for file in files]
    return {name: file for name, of_split, file in named if name and of_split == split}


def lists_of_folder(folder: Path, files: Iterable[str]) -> dict[str, Path]:
    """All lists of a folder, by class.

    Args:
        folder: such as ``ImageSets/Main``.
        files: names of those that are lists of a class; there are some.

    Raises:
        UserError: they are of several splits.
    """
    first, *others = sorted({class_and_split(Path(file))[1] for file in files})
    if others:
        plain = folder / f"{first}{ENDING}"
        which = f"the list of one split, such as {plain}" if plain.exists() else "a folder with those of one split only"
        raise UserError(f"{folder} holds lists of several splits ({', '.join([first, *others])}): give {which}")
    return lists_of_split(folder, first)


def read_class_lists(lists: Mapping[str, Path]) -> Contents:
    """Read the lists of one split.

    Args:
        lists: by class.

    Raises:
        UserError: one cannot be read.
    """
    problems: list[Problem] = []
    unusable: set[str] = set()
    values = {name: _read_list(file, problems, unusable) for name, file in lists.items()}
    places: dict[str, str] = {}
    for name, file in lists.items():
        for image, (number, _) in values[name].items():
            places.setdefault(image, f"line {number} of {file.name}")
    entries = []
    for image, where in places.items():
        lacking = [lists[name].name for name in lists if image not in values[name]]
        if image in unusable:
            continue
        if lacking:
            sentence = f"{where} names {image}, which is not in {', '.join(lacking)}"
            problems.append(Problem(sentence, "the lists of a split must all name the same images"))
            continue
        shown, difficult = (frozenset(name for name in lists if values[name][image][1] == wanted) for wanted in (1, 0))
        entries.append(Entry(where, image, shown, difficult))
    return Contents(entries, problems, sorted(lists), covers_other_classes=False)


def _read_list(file: Path, problems: list[Problem], unusable: set[str]) -> Values:
    """Read one list; images about which it leaves doubts are added to ``unusable``."""
    values: Values = {}
    for number, line in numbered_lines(file):
        where = f"line {number} of {file.name}"
        parts = split_value(line)
        if parts is None:
            problems.append(Problem(f"{where} is {quoted(line)}, not an image with 1, 0 or -1", _ADVICE))
            unusable.add(line.rsplit(None, 1)[0])
            continue
        image, value = parts
        line_before, value_before = values.setdefault(image, (number, value))
        if value != value_before:
            unusable.add(image)
            problems.append(
                Problem(f"{where} gives {image} {value}, but line {line_before} gives it {value_before}", "remove one")
            )
        elif number != line_before:
            problems.append(Problem(f"{where} names {image} again, as line {line_before} does", "remove one"))
    return values
