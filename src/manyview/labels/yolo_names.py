"""What ``classes.txt`` and ``data.yaml`` say of YOLO's label files: names of classes, and shape of key points."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from manyview.errors import UserError
from manyview.images.files import read_text

LIST = "classes.txt"
DATA_FILES = ("data.yaml", "data.yml")


def class_names(folder: Path) -> dict[int, str] | None:
    """Names of the classes by number, ascending, or None if there are none.

    They are in a ``classes.txt`` (one name a line, from class 0 on) or under ``names`` in a ``data.yaml`` (a list, or
    names by number) in the folder of the label files, or, if this is ``labels``, ``SPLIT/labels`` or ``labels/SPLIT``,
    above it as far as two levels. The nearest counts.

    Args:
        folder: of the label files.

    Raises:
        UserError: such a file is malformed, or two in one folder differ.
    """
    for place in _places(folder):
        files = [place / name for name in (LIST, *DATA_FILES) if (place / name).is_file()]
        if files:
            first, *others = [_read(file) for file in files]
            if any(other != first for other in others):
                raise UserError(f"{' and '.join(map(str, files))} name different classes: remove the wrong one")
            return first
    return None


def key_point_values(folder: Path) -> int | None:
    """How many numbers for key points follow those of each box, or None if the labels have none.

    It is the product of ``kpt_shape`` in the nearest ``data.yaml``, which is looked for where ``class_names`` does.

    Args:
        folder: of the label files.

    Raises:
        UserError: such a file is malformed.
    """
    files = (place / name for place in _places(folder) for name in DATA_FILES)
    nearest = next((file for file in files if file.is_file()), None)
    data = None if nearest is None else _load(nearest)
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


def _places(folder: Path) -> list[Path]:
    """Folders that may hold what is said of all label files, the nearest first."""
    here = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve would follow links, away from the names
    return [here, *(list(here.parents)[:2] if "labels" in (here.name, here.parent.name) else [])]


def _read(file: Path) -> dict[int, str]:
    names = _read_list(file) if file.name == LIST else _read_data(file)
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise UserError(f"{file} names {twice[0]!r} more than once: each class needs a name of its own")
    if not all(names.values()):
        raise UserError(f"{file} leaves a class without a name: each class needs one")
    return dict(sorted(names.items()))


def _read_list(file: Path) -> dict[int, str]:
    return {number: line.strip() for number, line in enumerate(read_text(file, "names").rstrip().split("\n"))}


def _load(file: Path) -> Any:
    text = read_text(file, "names")
    try:
        # The base loader makes nothing but strings, lists and dictionaries: a class called "no" keeps its name.
        return yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file} is not YAML: {' '.join(str(error).split())}") from error


def _read_data(file: Path) -> dict[int, str]:
    data = _load(file)
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
        raise UserError(f"{file} has names by something else than the classes' numbers ({error})") from error
