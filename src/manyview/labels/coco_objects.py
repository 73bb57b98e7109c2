"""Objects from a COCO instances file (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from manyview.labels.coco import _ambiguous, _categories, _parse, _records
from manyview.labels.object_entries import DetectionContents, LabelledBox, LabelledImage, LabelledObject
from manyview.labels.problems import Problem

LAYOUT = (
    "a COCO instances file has categories (id, name), images (id, file_name) and annotations (image_id, category_id, "
    "bbox: left, top, width, height)"
)
_MASKS = f"{LAYOUT}, and for masks a segmentation of each; without --masks boxes alone are learned"


class _Image(NamedTuple):
    number: int
    name: str
    size: tuple[int, int] | None


class _Annotation(NamedTuple):
    number: int | str | None
    image: int
    category: Any
    values: tuple[LabelledBox, bool, bool, float | None, Any]  # as LabelledObject has them


def read_coco(file: Path, *, masks: bool) -> DetectionContents:
    """Read every entry of ``images``, also those without objects, and every object, crowds included.

    Args:
        file: the ``.json``.
        masks: whether to keep the objects' ``segmentation``, which each must have then.

    Raises:
        UserError: the file cannot be read, is no JSON, lacks one of its parts, or defines a category twice.
    """
    parts = _parse(file)
    categories = _categories(parts["categories"], file)
    problems: list[Problem] = []
    images = _images(_records(parts, "images", _image, problems, LAYOUT), problems)
    convert, layout = functools.partial(_annotation, masks=masks), _MASKS if masks else LAYOUT
    annotations = _unique(_records(parts, "annotations", convert, problems, layout), problems)
    objects: dict[int, list[LabelledObject]] = {image.number: [] for image in images}
    listed = {str(record.get("id")) for record in parts["images"] if isinstance(record, dict)}  # even if malformed
    strangers: Counter[int] = Counter()
    for annotation in annotations:
        where = f"annotation {annotation.number}" if annotation.number is not None else "an annotation"
        if annotation.image not in objects:
            strangers[annotation.image] += str(annotation.image) not in listed
        elif annotation.category not in categories:
            sentence = f"{where} of image id {annotation.image} is of category {annotation.category!r}"
            problems.append(Problem(f"{sentence}, which is not defined", LAYOUT))
        else:
            kind = categories[annotation.category]
            objects[annotation.image].append(LabelledObject(where, kind, *annotation.values))
    problems.extend(
        Problem(f"image id {image} has annotations ({count}) but is not among the images", "add or remove it")
        for image, count in strangers.items()
        if count
    )
    entries = [
        LabelledImage(f"image id {number}", name, number, size, tuple(objects[number])) for number, name, size in images
    ]
    return DetectionContents(entries, problems, {name: number for number, name in categories.items()}, by_stem=False)


def _image(entry: Any) -> _Image:
    name = entry["file_name"]
    if not isinstance(name, str) or not name:
        raise TypeError(f"file_name is {name!r}")
    sides = entry.get("width"), entry.get("height")
    if None in sides:
        return _Image(int(entry["id"]), name, None)
    if not all(isinstance(side, int | float) and side >= 1 and side % 1 == 0 for side in sides):
        raise ValueError(f"{name} has the width {sides[0]!r} and the height {sides[1]!r}")
    return _Image(int(entry["id"]), name, (int(sides[0]), int(sides[1])))


def _images(images: Sequence[_Image], problems: list[Problem]) -> list[_Image]:
    """Each once, without the ids that stand for several."""
    ambiguous = _ambiguous([(image.number, image.name) for image in images], problems)
    first: dict[int, _Image] = {}
    for image in images:
        if first.setdefault(image.number, image) is not image and image.number not in ambiguous:
            problems.append(
                Problem(f"image id {image.number} is there more than once", "each image may be there only once")
            )
    return [image for number, image in first.items() if number not in ambiguous]


def _annotation(entry: Any, *, masks: bool) -> _Annotation:
    number = entry.get("id")
    if not isinstance(number, int | str | None):
        raise TypeError(f"its id is {number!r}")
    area = entry.get("area")
    values = (
        _box(entry["bbox"]),
        bool(int(entry.get("iscrowd", 0))),
        bool(int(entry.get("difficult", entry.get("ignore", 0)))),
        None if area is None else float(area),
        entry["segmentation"] if masks else None,
    )
    category = entry["category_id"]
    return _Annotation(
        number, int(entry["image_id"]), category if isinstance(category, int | float) else repr(category), values
    )


def _box(values: Any) -> LabelledBox:
    if not isinstance(values, list) or len(values) != 4:
        raise TypeError(f"its bbox is {values!r}")
    left, top, width, height = (float(value) for value in values)
    return left, top, width, height


def _unique(annotations: Sequence[_Annotation], problems: list[Problem]) -> list[_Annotation]:
    """The first of each id, as with equal ids pycocotools takes one object for the other without a word."""
    seen: dict[int | str, _Annotation] = {}
    unique = []
    for annotation in annotations:
        if annotation.number is None or seen.setdefault(annotation.number, annotation) is annotation:
            unique.append(annotation)
            continue
        same = annotation == seen[annotation.number]
        what = "is there more than once" if same else "stands for several objects"
        problems.append(Problem(f"annotation id {annotation.number} {what}", "each object needs an id of its own"))
    return unique
