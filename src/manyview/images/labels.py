"""Image-level labels from a CSV or a COCO instances file."""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from manyview.errors import UserError
from manyview.images.listing import check_folder, check_names, read_text

Rows = list[tuple[str, list[str]]]  # image, its labels


@dataclass(frozen=True)
class ImageLabels:
    """Which classes each image shows.

    Attributes:
        names: images, relative to their folder, in the order of the file they come from.
        classes: names of the classes, in the order of the columns.
        targets: 1 where the image shows the class, else 0.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    targets: UInt8[np.ndarray, "images classes"]


def read_labels(file: Path, images: Path, classes: Sequence[str] | None = None) -> ImageLabels:
    """Read image-level labels.

    Args:
        file: a ``.csv`` with the columns ``image`` and ``labels`` (joined by ``|``; none is allowed; further columns
            are ignored), or a COCO instances ``.json``: every entry of its ``images``, also those without objects,
            and every object, crowds included.
        images: folder to which the file's image names are relative.
        classes: classes to use, in this order, e.g. those of the training labels. Unset: all labels of a CSV in
            alphabetical order, or all categories of a COCO file in the order of their ids.

    Raises:
        UserError: the file is malformed, names an image twice or one that is not in the folder, or uses a class that
            is not among ``classes``.
    """
    check_folder(images)
    kind = file.suffix.lower()
    if kind not in (".csv", ".json"):
        raise UserError(f"the labels {file} must be a .csv with the columns image,labels or a COCO instances .json")
    text = read_text(file, "labels")
    rows, known = _parse_csv(text, file) if kind == ".csv" else _parse_coco(text, file)
    names = check_names([name for name, _ in rows], images, file)
    _check_unique(names, file, "image")
    columns = tuple(known if classes is None else classes)
    if not columns:
        raise UserError(f"{file} holds no label at all: at least one image must have one")
    return ImageLabels(tuple(names), columns, _targets(rows, columns, file))


def _parse_csv(text: str, file: Path) -> tuple[Rows, list[str]]:
    try:
        table = list(csv.reader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise UserError(f"{file} is not a CSV file: {error}") from error
    header = [cell.strip().lower() for cell in table[0]] if table else []
    if "image" not in header or "labels" not in header:
        raise UserError(f"{file} must begin with the header image,labels, not with {','.join(header)!r}")
    image, labels = header.index("image"), header.index("labels")
    rows: Rows = []
    for number, row in enumerate(table[1:], start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise UserError(
                f"{file}, line {number}, has {len(row)} cells where the header has {len(header)}: "
                "join the labels of an image by |, and quote names that contain commas"
            )
        cell = row[labels].strip()
        shown = [label.strip() for label in cell.split("|")] if cell else []
        if "" in shown:
            raise UserError(f"{file}, line {number}, has an empty label in {cell!r}: remove the bar too many")
        rows.append((row[image].strip(), shown))
    return rows, sorted({label for _, shown in rows for label in shown})


def _parse_coco(text: str, file: Path) -> tuple[Rows, list[str]]:
    try:
        data: Any = json.loads(text)
        categories = {int(entry["id"]): str(entry["name"]) for entry in data["categories"]}
        images = [(int(entry["id"]), str(entry["file_name"])) for entry in data["images"]]
        objects = {(int(entry["image_id"]), int(entry["category_id"])) for entry in data["annotations"]}
    except json.JSONDecodeError as error:
        raise UserError(f"{file} is not a JSON file: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        lacks = f"lacks {error}" if isinstance(error, KeyError) else f"is malformed ({error})"
        raise UserError(
            f"{file} {lacks}: a COCO instances file has categories (id, name), images (id, file_name) "
            "and annotations (image_id, category_id)"
        ) from error
    _check_unique(categories.values(), file, "category")
    _check_unique((number for number, _ in images), file, "image id")
    shown: dict[int, list[str]] = {number: [] for number, _ in images}
    for image, category in sorted(objects):
        if image not in shown or category not in categories:
            what = f"image {image}" if image not in shown else f"category {category}"
            raise UserError(f"{file} has an annotation of {what}, which it does not define")
        shown[image].append(categories[category])
    return [(name, shown[number]) for number, name in images], [categories[key] for key in sorted(categories)]


def _check_unique(values: Iterable[object], file: Path, what: str) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise UserError(
            f"{file} has {len(twice)} duplicates, first the {what} {twice[0]}: each may be there only once, "
            "with all its labels"
        )


def _targets(rows: Rows, classes: tuple[str, ...], file: Path) -> UInt8[np.ndarray, "images classes"]:
    column = {name: index for index, name in enumerate(classes)}
    targets = np.zeros((len(rows), len(classes)), dtype=np.uint8)
    for row, (image, labels) in enumerate(rows):
        for label in labels:
            if label not in column:
                near = difflib.get_close_matches(label, classes, n=1, cutoff=0)
                hint = f"the nearest known class is {near[0]!r}" if near else "no class is known"
                raise UserError(f"{file} gives {image} the unknown class {label!r}: {hint}")
            targets[row, column[label]] = 1
    return targets
