"""The one reader of COCO instances files (https://cocodataset.org/#format-data), for image labels and for objects."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from manyview.errors import UserError
from manyview.images.files import read_text
from manyview.labels.entries import LabeledBox, LabeledObject
from manyview.labels.identifiers import Identifier, Identifiers, as_identifier, in_order
from manyview.labels.masks import box_around
from manyview.labels.problems import Problem
from manyview.parsing import parse_json

Record = TypeVar("Record")

MALFORMED = (AttributeError, KeyError, TypeError, ValueError, OverflowError)
"""Exceptions that reading values from entries of another layout raises."""

_LARGEST = 2**31 - 1  # width or height of an image, as no format has a larger one
_PARTS = (
    "a COCO instances file has categories (id, name), images (id, file_name) and annotations (image_id, category_id"
)
LABELS = f"{_PARTS})"
OBJECTS = f"{_PARTS}, bbox: left, top, width, height)"
MASKS = f"{OBJECTS}, and for masks a segmentation of each; without --masks boxes alone are used"
BOXES = (
    "a COCO instances file has images (id, file_name, width, height) and annotations (image_id, bbox: left, top, "
    "width, height)"
)


def read_json(file: Path, what: str) -> Any:
    """The content of a JSON file.

    Args:
        file: the ``.json``.
        what: its content in the user's words, for messages.

    Raises:
        UserError: it cannot be read, or is not JSON.
    """
    try:
        return parse_json(read_text(file, what))
    except ValueError as error:
        raise UserError(f"{file} is not a JSON file: {error}") from error


def _read_parts(file: Path, parts: Sequence[str], layout: str) -> dict[str, list[Any]]:
    """Lists of a JSON file by their names.

    Raises:
        UserError: it cannot be read, is not JSON, lacks a list, or has something else instead.
    """
    data = read_json(file, "labels")
    try:
        found: dict[str, Any] = {part: data[part] for part in parts}
    except (KeyError, TypeError) as error:
        raise UserError(f"{file} {_fault(error)}: {layout}") from error
    wrong = next((part for part, value in found.items() if not isinstance(value, list)), None)
    if wrong is not None:
        raise UserError(f"{file} has {wrong} that are not a list: {layout}")
    return found


def _fault(error: Exception) -> str:
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


class CocoImage(NamedTuple):
    """An entry of ``images``; the size is None where the file does not state it."""

    number: Identifier
    name: str
    size: tuple[int, int] | None


class CocoAnnotation(NamedTuple):
    """An entry of ``annotations``; its image and category as written, and the values that ``LabeledObject`` has."""

    number: Identifier | None
    image: Identifier
    category: Any
    values: tuple[LabeledBox, bool, bool, float | None, Any]


class Instances:
    """An instances file, read part by part; malformed entries become problems.

    Attributes:
        categories: names by id, in the order of the ids; empty if not asked for.
        parts: ``images`` and ``annotations``, as in the file.
        problems: of the entries read so far.

    Args:
        file: the ``.json``.
        categories: whether it must define categories, which are ignored otherwise.

    Raises:
        UserError: the file cannot be read, is not JSON, lacks one of its parts, or defines a category twice.
    """

    def __init__(self, file: Path, *, categories: bool = True) -> None:
        names = ("categories", "images", "annotations") if categories else ("images", "annotations")
        self.parts = _read_parts(file, names, LABELS if categories else BOXES)
        self.categories = _categories(self.parts["categories"], file) if categories else {}
        self.problems: list[Problem] = []
        self._category_ids = Identifiers(self.categories)

    def problem(self, sentence: str, advice: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(sentence, advice))

    def category(self, reference: Any) -> str | None:
        """Name of the category that an annotation refers to; None if there is none."""
        number = self._category_ids.find(reference)
        return None if number is None else self.categories[number]

    def records(self, part: str, convert: Callable[[Any], Record], advice: str) -> list[Record]:
        """Entries of one part; malformed ones become problems."""
        records = []
        for position, entry in enumerate(self.parts[part], start=1):
            try:
                records.append(convert(entry))
            except MALFORMED as error:
                self.problem(f"number {position} of its {part} {_fault(error)}", advice)
        return records

    def ambiguous(self, images: Iterable[tuple[Identifier, str]]) -> set[Identifier]:
        """Ids of several images, each of which becomes a problem."""
        counts = Counter(number for number, _ in dict.fromkeys(images))
        several = [number for number, count in counts.items() if count > 1]
        for number in several:
            sentence = f"image id {number} stands for {counts[number]} images"
            self.problem(sentence, "each id may stand for one image only")
        return set(several)

    def images(self, advice: str = OBJECTS) -> list[CocoImage]:
        """Each image once, without ambiguous ids."""
        images = self.records("images", _image, advice)
        ambiguous = self.ambiguous((image.number, image.name) for image in images)
        first: dict[Identifier, CocoImage] = {}
        for image in images:
            if first.setdefault(image.number, image) is not image and image.number not in ambiguous:
                self.problem(f"image id {image.number} is there more than once", "each image may be there only once")
        return [image for number, image in first.items() if number not in ambiguous]

    def strangers(self, images: Iterable[Identifier], *, counted: bool = True) -> None:
        """Add a problem for each image id of annotations that is not among the images, malformed ones included."""
        listed = {str(entry.get("id")) for entry in self.parts["images"] if isinstance(entry, dict)}
        for image, count in Counter(image for image in images if str(image) not in listed).items():
            number = f" ({count})" if counted else ""
            sentence = f"image id {image} has annotations{number} but is not among the images"
            self.problem(sentence, "add or remove it")

    def unique(self, annotations: Sequence[CocoAnnotation]) -> list[CocoAnnotation]:
        """The first annotation of each id, as pycocotools silently confuses objects of equal ids."""
        seen: dict[Identifier, CocoAnnotation] = {}
        unique = []
        for annotation in annotations:
            if annotation.number is None or seen.setdefault(annotation.number, annotation) is annotation:
                unique.append(annotation)
                continue
            same = annotation == seen[annotation.number]
            what = "is there more than once" if same else "stands for several objects"
            self.problem(f"annotation id {annotation.number} {what}", "each object needs an id of its own")
        return unique

    def by_image(
        self, annotations: Sequence[CocoAnnotation], images: Sequence[CocoImage]
    ) -> dict[Identifier, list[LabeledObject]]:
        """Objects by image; those of unknown images or categories become problems."""
        objects: dict[Identifier, list[LabeledObject]] = {image.number: [] for image in images}
        known, strangers = Identifiers(objects), []
        for annotation in annotations:
            where = f"annotation {annotation.number}" if annotation.number is not None else "an annotation"
            image, name = known.find(annotation.image), self.category(annotation.category)
            if image is None:
                strangers.append(annotation.image)
            elif name is None and "categories" in self.parts:
                sentence = f"{where} of image id {annotation.image} is of category {annotation.category!r}"
                self.problem(f"{sentence}, which is not defined", OBJECTS)
            else:
                objects[image].append(LabeledObject(where, name or "", *annotation.values))
        self.strangers(strangers)
        return objects


def _categories(entries: list[Any], file: Path) -> dict[Identifier, str]:
    try:
        categories = [(as_identifier(entry["id"]), str(entry["name"])) for entry in entries]
    except MALFORMED as error:
        raise UserError(f"{file} has a category that {_fault(error)}: {LABELS}") from error
    check_unique((number for number, _ in categories), f"{file} has the category id")
    check_unique((name for _, name in categories), f"{file} has the category")
    names = dict(categories)
    return {number: names[number] for number in in_order(list(names))}


def file_name(entry: Mapping[str, Any]) -> str:
    """Name of an entry of ``images``."""
    name = entry["file_name"]
    if not isinstance(name, str) or not name:
        raise TypeError(f"file_name is {name!r}")
    return name


def _image(entry: Any) -> CocoImage:
    name = file_name(entry)
    number, width, height = as_identifier(entry["id"]), entry.get("width"), entry.get("height")
    try:
        sides = _side(width), _side(height)
    except MALFORMED:
        raise ValueError(f"{name} has the width {width!r} and the height {height!r}") from None
    return CocoImage(number, name, None if None in sides else sides)  # type: ignore[arg-type]


def _side(value: Any) -> int | None:
    """Width or height in pixels; None for what tools write where they do not know it: null, 0, -1, NaN or nothing."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    side = float(value)
    if math.isnan(side) or side <= 0:
        return None
    if not side.is_integer() or side > _LARGEST:
        raise ValueError
    return int(side)


def annotation(entry: Any, *, masks: bool, categories: bool = True) -> CocoAnnotation:
    """Convert an entry of ``annotations``.

    Args:
        entry: of the file.
        masks: whether to keep its ``segmentation``, which is then required.
        categories: whether it must have a category.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: it has another layout.
    """
    number = entry.get("id")
    if number is not None:
        try:
            number = as_identifier(number)
        except TypeError:
            raise TypeError(f"its id is {number!r}") from None
    area = entry.get("area")
    values = (
        _box(entry),
        _flag(entry.get("iscrowd")),
        _flag(entry.get("difficult", entry.get("ignore"))),
        None if area is None else float(area),
        entry["segmentation"] if masks else None,
    )
    category = entry["category_id"] if categories else None
    return CocoAnnotation(number, as_identifier(entry["image_id"]), _shown(category), values)


def _shown(category: Any) -> Any:
    """A category as written; as text where it is no id."""
    return category if isinstance(category, int | float | str) else repr(category)


def _flag(value: Any) -> bool:
    return value is not None and bool(int(value))


def _box(entry: Any) -> LabeledBox:
    """The ``bbox``; where it is missing, the smallest box around the ``segmentation``."""
    values = entry.get("bbox")
    if values is None or values == []:
        segmentation = entry.get("segmentation")
        if not segmentation:
            raise KeyError("bbox")
        return box_around(segmentation)
    if not isinstance(values, list) or len(values) != 4:
        raise TypeError(f"its bbox is {values!r}")
    left, top, width, height = (float(value) for value in values)
    return left, top, width, height
