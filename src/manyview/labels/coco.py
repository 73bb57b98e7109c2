"""Labels from a COCO instances file: an image shows the categories of its objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from manyview.errors import UserError
from manyview.labels.coco_json import MALFORMED, check_unique, fault, read_json
from manyview.labels.entries import Contents, Entry
from manyview.labels.problems import Problem

Record = TypeVar("Record")

_LAYOUT = (
    "a COCO instances file has categories (id, name), images (id, file_name) and annotations (image_id, category_id)"
)


def read_coco(file: Path) -> Contents:
    """Read every entry of ``images``, also those without objects, and every object, crowds included.

    Raises:
        UserError: the file cannot be read, is no JSON, lacks one of its parts, or defines a category twice.
    """
    parts = _parse(file)
    categories = _categories(parts["categories"], file)
    problems: list[Problem] = []
    images = _records(parts, "images", _image, problems)
    objects = dict.fromkeys(_records(parts, "annotations", _object, problems))
    known = {number for number, _ in images}
    unusable = _ambiguous(images, problems)
    shown: dict[int, set[str]] = {number: set() for number in known}
    for image in dict.fromkeys(image for image, _ in objects if image not in known):
        problems.append(Problem(f"image id {image} has annotations but is not among the images", "add or remove it"))
    for image, category in objects:
        if image not in known:
            continue
        if category in categories:
            shown[image].add(categories[category])
        else:
            problems.append(
                Problem(f"image id {image} has an annotation of category {category}, which is not defined", _LAYOUT)
            )
            unusable.add(image)
    entries = [
        Entry(f"image id {number}", name, frozenset(shown[number])) for number, name in images if number not in unusable
    ]
    return Contents(entries, problems, list(categories.values()), by_stem=False)


def _parse(file: Path) -> dict[str, list[Any]]:
    data = read_json(file)
    try:
        parts: dict[str, Any] = {part: data[part] for part in ("categories", "images", "annotations")}
    except (KeyError, TypeError) as error:
        raise UserError(f"{file} {fault(error)}: {_LAYOUT}") from error
    wrong = next((part for part, value in parts.items() if not isinstance(value, list)), None)
    if wrong is not None:
        raise UserError(f"{file} has {wrong} that are no list: {_LAYOUT}")
    return parts


def _categories(entries: list[Any], file: Path) -> dict[int, str]:
    """Names by id, in the order of the ids."""
    try:
        categories = [(int(entry["id"]), str(entry["name"])) for entry in entries]
    except MALFORMED as error:
        raise UserError(f"{file} has a category that {fault(error)}: {_LAYOUT}") from error
    check_unique((number for number, _ in categories), f"{file} has the category id")
    check_unique((name for _, name in categories), f"{file} has the category")
    return dict(sorted(categories))


def _records(
    parts: dict[str, list[Any]],
    part: str,
    convert: Callable[[Any], Record],
    problems: list[Problem],
    advice: str = _LAYOUT,
) -> list[Record]:
    """What can be read of one part; the rest becomes problems."""
    records = []
    for position, entry in enumerate(parts[part], start=1):
        try:
            records.append(convert(entry))
        except MALFORMED as error:
            problems.append(Problem(f"number {position} of its {part} {fault(error)}", advice))
    return records


def _image(entry: Any) -> tuple[int, str]:
    name = entry["file_name"]
    if not isinstance(name, str) or not name:
        raise TypeError(f"file_name is {name!r}")
    return int(entry["id"]), name


def _object(entry: Any) -> tuple[int, int | str]:
    """Image and category; a category that is none keeps its form, so that its image is known to be incomplete."""
    image = int(entry["image_id"])
    try:
        return image, int(entry["category_id"])
    except MALFORMED:
        return image, repr(entry.get("category_id"))


def _ambiguous(images: list[tuple[int, str]], problems: list[Problem]) -> set[int]:
    """Ids that stand for several images."""
    counts = Counter(number for number, _ in dict.fromkeys(images))
    ambiguous = {number for number, count in counts.items() if count > 1}
    problems.extend(
        Problem(f"image id {number} stands for {counts[number]} images", "each id may stand for one image only")
        for number in sorted(ambiguous)
    )
    return ambiguous
