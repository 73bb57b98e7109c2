"""Reads image labels and objects from COCO instances files (https://cocodataset.org/#format-data).

An image's labels are the categories of its objects.
"""

from __future__ import annotations

import functools
from typing import Any

from manyview.labels.entries import (
    Contents,
    DetectionContents,
    Entry,
    LabeledImage,
    LabelFiles,
    LabelFormat,
    LabelReader,
    ObjectReader,
)
from manyview.labels.identifiers import Identifier, Identifiers, as_identifier
from manyview.labels.instances import LABELS, MASKS, OBJECTS, Instances, annotation, file_name
from manyview.labels.problems import no_outlines


def _is_coco(files: LabelFiles) -> bool:
    return files.names is None and files.ending == ".json"


# Image labels.


def _read_labels(files: LabelFiles) -> Contents:
    """Read every entry of ``images``, also those without objects, and every object, crowds included."""
    file = Instances(files.path)
    images = file.records("images", _named_image, LABELS)
    objects = dict.fromkeys(file.records("annotations", _category_of_image, LABELS))
    shown: dict[Identifier, set[str]] = {number: set() for number, _ in images}
    known, unusable = Identifiers(shown), file.ambiguous(images)
    found = [(known.find(image), image, category) for image, category in objects]
    file.strangers([written for image, written, _ in found if image is None], counted=False)
    for image, _, category in found:
        if image is None:
            continue
        name = file.category(category)
        if name is not None:
            shown[image].add(name)
        else:
            file.problem(f"image id {image} has an annotation of category {category}, which is not defined", LABELS)
            unusable.add(image)
    entries = [
        Entry(f"image id {number}", name, frozenset(shown[number])) for number, name in images if number not in unusable
    ]
    return Contents(entries, file.problems, list(file.categories.values()), by_stem=False)


def _named_image(entry: Any) -> tuple[Identifier, str]:
    name = file_name(entry)
    return as_identifier(entry["id"]), name


def _category_of_image(entry: Any) -> tuple[Identifier, Identifier]:
    """Image and category id; an invalid category is kept as text, so that its image is known to be incomplete."""
    image = as_identifier(entry["image_id"])
    try:
        return image, as_identifier(entry["category_id"])
    except (KeyError, TypeError):
        return image, repr(entry.get("category_id"))


# Objects.


def _read_objects(files: LabelFiles, masks: bool) -> DetectionContents:
    """Read every entry of ``images``, also those without objects, and every object, crowds included.

    Args:
        files: the ``.json``.
        masks: whether to keep the objects' ``segmentation``, which is then required.

    Raises:
        UserError: the file cannot be read, or masks are wanted where no object has a segmentation.
    """
    file = Instances(files.path)
    annotations = [each for each in file.parts["annotations"] if isinstance(each, dict)]
    if masks and annotations and not any(each.get("segmentation") for each in annotations):
        raise no_outlines(f"{files.path} has boxes", "segmentation: polygons or run lengths")
    images = file.images()
    convert, layout = functools.partial(annotation, masks=masks), MASKS if masks else OBJECTS
    objects = file.by_image(file.unique(file.records("annotations", convert, layout)), images)
    entries = [
        LabeledImage(f"image id {number}", name, number, size, tuple(objects[number])) for number, name, size in images
    ]
    category_ids = {name: number for number, name in file.categories.items()}
    return DetectionContents(entries, file.problems, category_ids, by_stem=False)


_ABOUT = "a COCO instances .json"
FORMAT = LabelFormat(
    name="coco",
    title="COCO",
    labels=(LabelReader(_ABOUT, _is_coco, _read_labels),),
    objects=(ObjectReader(_ABOUT, _is_coco, _read_objects, masks=_ABOUT),),
)
