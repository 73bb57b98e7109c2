"""Names of YOLO's classes and the shape of its key points, from the files beside or above a folder of labels."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from manyview.errors import UserError
from manyview.images.files import read_text
from manyview.parsing import parse_yaml

LISTS = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt")
"""Files with one name a line, from class 0 on."""

DATA_ENDINGS = (".yaml", ".yml")
"""Extensions, in lower case, of the files that describe a data set."""

SPLITS = ("train", "val", "test")
"""Parts of a data set that such a file names."""

_DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_DATA_FOLDER = re.compile(r"obj_\w+_data", re.IGNORECASE)  # beside which CVAT's YOLO 1.1 has obj.names
_LARGEST = 2**20  # bytes of a YAML file that is looked into because it stands there

Names = dict[int, str]
"""Names of classes by number, ascending."""


def find_names(folder: Path) -> Names | None:
    """Names of the classes by number, ascending, or None if there are none.

    They are in a ``classes.txt``, ``obj.names`` or another ``.names`` (one name a line, from class 0 on), or under
    ``names`` in a ``data.yaml`` or another YAML file that also names images (a list, or names by number) in the folder
    of the label files, or, if this is ``labels``, ``SPLIT/labels``, ``labels/SPLIT`` or CVAT's ``obj_SPLIT_data``, up
    to two levels above it. The nearest counts.

    Args:
        folder: of the label files.

    Raises:
        UserError: such a file is malformed, or two in one folder differ.
    """
    for parent in _metadata_folders(folder):
        files = [parent / name for name in (*LISTS, *_DATA_FILES) if (parent / name).is_file()]
        if not files:  # darknet's lists of names have any name, such as coco.names
            files = sorted(file for file in parent.glob("*.names") if file.is_file()) or data_files(parent)
        if files:
            first, *others = [read_names(file) for file in files]
            if any(other != first for other in others):
                raise UserError(
                    f"{' and '.join(map(str, files))} name different classes: give the one that is right as --names"
                )
            return first
    return None


def data_files(folder: Path) -> list[Path]:
    """YAML files of any name in a folder that describe a data set: they name its classes and images of a split."""
    found = []
    for file in sorted(folder.glob("*.y*ml")):
        try:
            if file.suffix.lower() in DATA_ENDINGS and file.is_file() and file.stat().st_size <= _LARGEST:
                content = load_yaml(file)
                if isinstance(content, dict) and "names" in content and content.keys() & {*SPLITS, "valid"}:
                    found.append(file)
        except (OSError, UserError):
            continue  # nobody has named it
    return found


def find_key_points(folder: Path) -> int | None:
    """Numbers of key points that follow each box, or None if the labels have none.

    This is the product of ``kpt_shape`` in the nearest ``data.yaml``, or YAML file of another name that also names
    images, found as in ``find_names``.

    Args:
        folder: of the label files.

    Raises:
        UserError: such a file is malformed, or two in one folder differ.
    """
    for parent in _metadata_folders(folder):
        files = [parent / name for name in _DATA_FILES if (parent / name).is_file()] or data_files(parent)
        found = list(dict.fromkeys(key_points(load_yaml(file), file) for file in files))
        if len(found) > 1:
            raise UserError(
                f"{' and '.join(map(str, files))} differ in kpt_shape: give the one that is right as the labels"
            )
        if found:
            return found[0]
    return None


def key_points(content: Any, file: Path) -> int | None:
    """Numbers of key points by the content of a data set's YAML file; None if it has no ``kpt_shape``.

    Raises:
        UserError: it is malformed.
    """
    if not isinstance(content, dict) or "kpt_shape" not in content:
        return None
    try:
        if not isinstance(content["kpt_shape"], list):
            raise ValueError
        points, values = (int(side) for side in content["kpt_shape"])
        if points < 1 or values < 1:
            raise ValueError
    except (TypeError, ValueError):
        raise UserError(
            f"{file} must have as kpt_shape a list of two numbers: of points, and of values of each"
        ) from None
    return points * values


def _metadata_folders(folder: Path) -> list[Path]:
    """Folders that may hold ``classes.txt`` or ``data.yaml``, the nearest first."""
    here = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve would follow links, away from the names
    inner = any(name == "labels" or _DATA_FOLDER.fullmatch(name) for name in (here.name, here.parent.name))
    return [here, *(list(here.parents)[:2] if inner else [])]


def read_names(file: Path) -> Names:
    """Names of classes by number from a list with one name a line, or from ``names`` of a YAML file.

    Raises:
        UserError: the file is missing or malformed, or a class has no name, or that of another.
    """
    return named_in(load_yaml(file), file) if file.suffix.lower() in DATA_ENDINGS else _listed_names(file)


def _listed_names(file: Path) -> Names:
    lines = read_text(file, "names").rstrip().split("\n")
    return _checked({number: line.strip() for number, line in enumerate(lines)}, file)


def _checked(names: Names, file: Path) -> Names:
    """Names of classes by number, ascending, each class with a name of its own.

    Raises:
        UserError: a class has no name, or that of another.
    """
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise UserError(f"{file} names {twice[0]!r} more than once: each class needs a name of its own")
    if not all(names.values()):
        raise UserError(f"{file} leaves a class without a name: each class needs one")
    return dict(sorted(names.items()))


def load_yaml(file: Path) -> Any:
    """The content of a YAML file.

    Raises:
        UserError: it cannot be read, or is not YAML.
    """
    text = read_text(file, "names")
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise UserError(f"{file} is not YAML: {error}") from error


def named_in(content: Any, file: Path) -> Names:
    """The classes under ``names`` in the content of a YAML file, by number, ascending.

    Raises:
        UserError: there are none, they have another layout, or a class has no name, no number, or those of another.
    """
    names = content.get("names") if isinstance(content, dict) else None
    by_number = dict(enumerate(names)) if isinstance(names, list) else names
    if (
        not isinstance(by_number, dict)
        or not by_number
        or not all(isinstance(name, str) for name in by_number.values())
    ):
        raise UserError(f"{file} must have names: a list of the classes' names, or the names by number")
    try:
        numbered = {int(number): name.strip() for number, name in by_number.items()}
    except ValueError as error:
        raise UserError(f"{file} has names by keys other than the classes' numbers ({error})") from error
    if len(numbered) < len(by_number) or min(numbered) < 0:
        raise UserError(f"{file} has names by keys other than the classes' numbers, which are 0 or more, each once")
    return _checked(numbered, file)
