"""Reads image labels and objects from COCO instances files (https://cocodataset.org/#format-data).

An image's labels are the categories of its objects.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from manyview.errors import UserError
from manyview.images.files import read_text
from manyview.labels.entries import (
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
)
from manyview.labels.problems import Problem

Record = TypeVar("Record")

MALFORMED = (AttributeError, KeyError, TypeError, ValueError, OverflowError)
"""Exceptions that reading values from entries of another layout raises."""

_PARTS = (
    "a COCO instances file has categories (id, name), images (id, file_name) and annotations (image_id, category_id"
)
_LABELS = f"{_PARTS})"
_OBJECTS = f"{_PARTS}, bbox: left, top, width, height)"
_MASKS = f"{_OBJECTS}, and for masks a segmentation of each; without --masks boxes alone are used"


def read_json(file: Path, what: str) -> Any:
    """The content of a JSON file.

    Args:
        file: the ``.json``.
        what: its content in the user's words, for messages.

    Raises:
        UserError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_text(file, what))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{file} is not a JSON file: {error}") from error


def read_parts(file: Path, parts: Sequence[str], layout: str) -> dict[str, list[Any]]:
    """Read lists of a JSON file by their names.

    Args:
        file: the ``.json``.
        parts: names of the lists.
        layout: the expected content, for messages.

    Raises:
        UserError: it cannot be read, is not JSON, lacks a list, or has something else instead.
    """
    data = read_json(file, "labels")
    try:
        found: dict[str, Any] = {part: data[part] for part in parts}
    except (KeyError, TypeError) as error:
        raise UserError(f"{file} {fault(error)}: {layout}") from error
    wrong = next((part for part, value in found.items() if not isinstance(value, list)), None)
    if wrong is not None:
        raise UserError(f"{file} has {wrong} that are not a list: {layout}")
    return found


def fault(error: Exception) -> str:
    """Words for an exception raised by an entry of another layout."""
    return f"lacks {error}" if isinstance(error, KeyError) else f"is malformed ({error})"


def check_unique(values: Iterable[object], what: str) -> None:
    """Refuse values that occur twice.

    Raises:
        UserError: with ``what``, such as "labels.json has the category", before the value.
    """
    twice = next((value for value, count in Counter(values).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{what} {twice} more than once: each may be there only once")


def whole_pixels(*sides: Any) -> bool:
    """Whether each is a whole number of at least 1, as an image's width and height are."""
    return all(isinstance(side, int | float) and side >= 1 and side % 1 == 0 for side in sides)


class _Instances:
    """An instances file, read part by part; malformed entries become problems.

    Attributes:
        categories: names by id, in the order of the ids.
        parts: ``images`` and ``annotations``, as in the file.
        problems: of the entries read so far.

    Raises:
        UserError: the file cannot be read, is not JSON, lacks one of its parts, or defines a category twice.
    """

    def __init__(self, file: Path) -> None:
        self.parts = read_parts(file, ("categories", "images", "annotations"), _LABELS)
        self.categories = _categories(self.parts["categories"], file)
        self.problems: list[Problem] = []

    def problem(self, sentence: str, advice: str) -> None:
        self.problems.append(Problem(sentence, advice))

    def records(self, part: str, convert: Callable[[Any], Record], advice: str) -> list[Record]:
        """Entries of one part; malformed ones become problems."""
        records = []
        for position, entry in enumerate(self.parts[part], start=1):
            try:
                records.append(convert(entry))
            except MALFORMED as error:
                self.problem(f"number {position} of its {part} {fault(error)}", advice)
        return records

    def ambiguous(self, images: Iterable[tuple[int, str]]) -> set[int]:
        """Ids of several images, each of which becomes a problem."""
        counts = Counter(number for number, _ in dict.fromkeys(images))
        several = sorted(number for number, count in counts.items() if count > 1)
        for number in several:
            sentence = f"image id {number} stands for {counts[number]} images"
            self.problem(sentence, "each id may stand for one image only")
        return set(several)


def _categories(entries: list[Any], file: Path) -> dict[int, str]:
    try:
        categories = [(int(entry["id"]), str(entry["name"])) for entry in entries]
    except MALFORMED as error:
        raise UserError(f"{file} has a category that {fault(error)}: {_LABELS}") from error
    check_unique((number for number, _ in categories), f"{file} has the category id")
    check_unique((name for _, name in categories), f"{file} has the category")
    return dict(sorted(categories))


def _file_name(entry: Any) -> str:
    name = entry["file_name"]
    if not isinstance(name, str) or not name:
        raise TypeError(f"file_name is {name!r}")
    return name


def _is_coco(files: LabelFiles) -> bool:
    return files.names is None and files.ending == ".json"


# Image labels.


def _read_labels(files: LabelFiles) -> Contents:
    """Read every entry of ``images``, also those without objects, and every object, crowds included."""
    file = _Instances(files.path)
    images = file.records("images", _named_image, _LABELS)
    objects = dict.fromkeys(file.records("annotations", _category_of_image, _LABELS))
    shown: dict[int, set[str]] = {number: set() for number, _ in images}
    unusable = file.ambiguous(images)
    for image in dict.fromkeys(image for image, _ in objects if image not in shown):
        file.problem(f"image id {image} has annotations but is not among the images", "add or remove it")
    for image, category in objects:
        if image not in shown:
            continue
        if category in file.categories:
            shown[image].add(file.categories[category])
        else:
            file.problem(f"image id {image} has an annotation of category {category}, which is not defined", _LABELS)
            unusable.add(image)
    entries = [
        Entry(f"image id {number}", name, frozenset(shown[number])) for number, name in images if number not in unusable
    ]
    return Contents(entries, file.problems, list(file.categories.values()), by_stem=False)


def _named_image(entry: Any) -> tuple[int, str]:
    name = _file_name(entry)
    return int(entry["id"]), name


def _category_of_image(entry: Any) -> tuple[int, int | str]:
    """Image and category id; an invalid category is kept as text, so that its image is known to be incomplete."""
    image = int(entry["image_id"])
    try:
        return image, int(entry["category_id"])
    except MALFORMED:
        return image, repr(entry.get("category_id"))


# Objects.


class _Image(NamedTuple):
    number: int
    name: str
    size: tuple[int, int] | None


class _Annotation(NamedTuple):
    number: int | str | None
    image: int
    category: Any
    values: tuple[LabeledBox, bool, bool, float | None, Any]  # as LabeledObject has them


def _read_objects(files: LabelFiles, masks: bool) -> DetectionContents:
    """Read every entry of ``images``, also those without objects, and every object, crowds included.

    Args:
        files: the ``.json``.
        masks: whether to keep the objects' ``segmentation``, which is then required.
    """
    file = _Instances(files.path)
    images = _images(file)
    convert, layout = functools.partial(_annotation, masks=masks), _MASKS if masks else _OBJECTS
    annotations = _unique(file.records("annotations", convert, layout), file)
    objects = _by_image(annotations, images, file)
    entries = [
        LabeledImage(f"image id {number}", name, number, size, tuple(objects[number])) for number, name, size in images
    ]
    category_ids = {name: number for number, name in file.categories.items()}
    return DetectionContents(entries, file.problems, category_ids, by_stem=False)


def _images(file: _Instances) -> list[_Image]:
    """Each image once, without ambiguous ids."""
    images = file.records("images", _image, _OBJECTS)
    ambiguous = file.ambiguous((image.number, image.name) for image in images)
    first: dict[int, _Image] = {}
    for image in images:
        if first.setdefault(image.number, image) is not image and image.number not in ambiguous:
            file.problem(f"image id {image.number} is there more than once", "each image may be there only once")
    return [image for number, image in first.items() if number not in ambiguous]


def _image(entry: Any) -> _Image:
    name = _file_name(entry)
    width, height = entry.get("width"), entry.get("height")
    if width is None or height is None:
        return _Image(int(entry["id"]), name, None)
    if not whole_pixels(width, height):
        raise ValueError(f"{name} has the width {width!r} and the height {height!r}")
    return _Image(int(entry["id"]), name, (int(width), int(height)))


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


def _box(values: Any) -> LabeledBox:
    if not isinstance(values, list) or len(values) != 4:
        raise TypeError(f"its bbox is {values!r}")
    left, top, width, height = (float(value) for value in values)
    return left, top, width, height


def _unique(annotations: Sequence[_Annotation], file: _Instances) -> list[_Annotation]:
    """The first annotation of each id, as pycocotools silently confuses objects of equal ids."""
    seen: dict[int | str, _Annotation] = {}
    unique = []
    for annotation in annotations:
        if annotation.number is None or seen.setdefault(annotation.number, annotation) is annotation:
            unique.append(annotation)
            continue
        same = annotation == seen[annotation.number]
        what = "is there more than once" if same else "stands for several objects"
        file.problem(f"annotation id {annotation.number} {what}", "each object needs an id of its own")
    return unique


def _by_image(
    annotations: Sequence[_Annotation], images: Sequence[_Image], file: _Instances
) -> dict[int, list[LabeledObject]]:
    """Objects by image; those of unknown images or categories become problems."""
    objects: dict[int, list[LabeledObject]] = {image.number: [] for image in images}
    listed = {str(entry.get("id")) for entry in file.parts["images"] if isinstance(entry, dict)}  # even if malformed
    strangers: Counter[int] = Counter()
    for annotation in annotations:
        where = f"annotation {annotation.number}" if annotation.number is not None else "an annotation"
        if annotation.image not in objects:
            strangers[annotation.image] += str(annotation.image) not in listed
        elif annotation.category not in file.categories:
            sentence = f"{where} of image id {annotation.image} is of category {annotation.category!r}"
            file.problem(f"{sentence}, which is not defined", _OBJECTS)
        else:
            name = file.categories[annotation.category]
            objects[annotation.image].append(LabeledObject(where, name, *annotation.values))
    for image, count in strangers.items():
        if count:
            sentence = f"image id {image} has annotations ({count}) but is not among the images"
            file.problem(sentence, "add or remove it")
    return objects


_ABOUT = "a COCO instances .json"
FORMAT = LabelFormat(
    name="coco",
    title="COCO",
    labels=(LabelReader(_ABOUT, _is_coco, _read_labels),),
    objects=(ObjectReader(_ABOUT, _is_coco, _read_objects, masks=_ABOUT),),
)
