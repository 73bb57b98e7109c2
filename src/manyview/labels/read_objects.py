"""Reads objects from a label file of any format, and reports those that cannot be used."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np

from manyview.errors import UserError, one_line
from manyview.images import ImagePath, ImageRoot, UnreadableImage, open_image
from manyview.images.bands import opened
from manyview.images.files import check_folder
from manyview.images.jpeg import JPEG
from manyview.labels.check_objects import ObjectChecker, check_layout
from manyview.labels.entries import DetectionContents, LabeledImage
from manyview.labels.formats import read_objects
from manyview.labels.identifiers import Identifier, next_number
from manyview.labels.nearby import nearby_images
from manyview.labels.objects import DetectionLabels
from manyview.labels.paths import ImageNames
from manyview.labels.problems import Problem, check_choice, refusal, unique_entries
from manyview.labels.yolo import image_folder
from manyview.options.base import StrPath
from manyview.options.shared import Problems

_BEGINNING = 1 << 16  # bytes that hold the header of nearly every image
_THREADS = 8  # that read image headers


def read_annotations(
    file: Path,
    images: ImageRoot | None = None,
    classes: Sequence[str] | None = None,
    *,
    masks: bool = False,
    problems: Problems = "refuse",
    split: str = "train",
    class_names: StrPath | None = None,
) -> DetectionLabels:
    """Read objects with their boxes, and optionally masks, of any of these formats.

    - COCO instances ``.json``: every entry of its ``images``, also those without objects, and all ``annotations``; a
      missing ``bbox`` is the smallest one around the ``segmentation``.
    - A folder of Pascal VOC's XML annotations.
    - A list of Pascal VOC's ``ImageSets/Main``, with the XML of its images in ``Annotations`` beside or up to two
      levels above it.
    - A folder of YOLO's text files, or a YAML file that names images, as for ``read_labels``, with boxes or outlines as
      fractions of the image's sides. The box of an outline is the smallest around it. If ``data.yaml``, or a YAML file
      of another name that names images, has ``kpt_shape``, boxes are followed by key points, which are left out.

    An image without a file of its own among XML or YOLO files is not labeled at all. Boxes are clipped to their
    image, as annotators draw over the edge. Objects without area and crowds are kept, as AP knows them, but are
    not ``trained``. Categories and images without objects are kept, too.

    Args:
        file: the label file or folder.
        images: folder to which the images' names are relative, which are found as by ``read_labels``; None: that of the
            images that a YAML file names. All of them must exist, as their sizes are read.
        classes: classes to use, in this order, e.g. those of the training labels. Unset: all categories of a COCO file
            or names of YOLO classes in the order of their numbers, else all names of objects in alphabetical order,
            numbers first.
        masks: whether to read masks, which every object must have then: in YOLO files an outline.
        problems: treatment of images that are missing, unreadable, named twice, or not of the stated size; of
            objects that are malformed, of an unknown class, outside of their image, with an id that another one
            has, or of no listed image: a ``UserError`` ("refuse"), or such images and objects are left out,
            objects without the other ones of their image, and listed in ``skipped`` ("skip"). Of repeated entries
            that agree, the first stays.
        split: of a YAML file, the images to read: "train", "val" or "test".
        class_names: file that names YOLO's classes, as for ``read_labels``.

    Raises:
        UserError: the file is missing, of no known format, malformed as a whole, or has a problem that is not to be
            skipped; its boxes are evidently shares, corners or centers where the format has others; no image or no
            class is left; or masks are requested, and the format has none or pycocotools is not installed.
    """
    check_choice("problems", problems, get_args(Problems))
    root = image_folder(file, images)
    check_folder(root)
    names_file = None if class_names is None else Path(class_names)
    contents = read_objects(file, masks=masks, split=split, names=names_file)
    found = list(contents.problems)
    named = ImageNames(root, contents.by_stem).located(contents.entries, found)
    located = unique_entries(named, _content, found, content="objects")
    sized = _sized(located, root, found)
    if contents.in_shares:
        sized = [(entry.in_pixels(*size), size) for entry, size in sized]
    _check_layout(file, contents, sized)
    columns = tuple(classes) if classes is not None else _classes(contents, sized)
    checker = ObjectChecker(columns, masks, found)
    objects = tuple(checker.objects(entry, size) for entry, size in sized)
    if found and (problems == "refuse" or not sized):
        near = nearby_images(contents.entries, len(named), root, file, by_stem=contents.by_stem)
        raise refusal(found, file, can_skip=bool(sized), near=near)
    if not sized:
        raise UserError(f"{file} names no images")
    if not columns:
        raise UserError(f"{file} holds no object at all: at least one image must have one")
    entries = [entry for entry, _ in sized]
    return DetectionLabels(
        names=tuple(entry.image for entry in entries),
        sizes=tuple(size for _, size in sized),
        classes=columns,
        objects=objects,
        image_ids=tuple(order if entry.number is None else entry.number for order, entry in enumerate(entries, 1)),
        category_ids=_category_ids(columns, contents.category_ids),
        skipped=tuple(problem.line for problem in found),
        notes=(*contents.notes, *map(one_line, checker.notes())),
    )


def _check_layout(
    file: Path, contents: DetectionContents, sized: Sequence[tuple[LabeledImage, tuple[int, int]]]
) -> None:
    """Refuse boxes, in pixels, that are evidently not what their format means."""
    found = [(labeled.box, size, labeled.area) for entry, size in sized for labeled in entry.objects]
    boxes = np.array([box for box, _, _ in found], dtype=np.float64).reshape(-1, 4)
    sizes = np.array([size for _, size, _ in found], dtype=np.int64).reshape(-1, 2)
    areas = [area for _, _, area in found]
    check_layout(file, boxes, sizes, layout=contents.box_layout, areas=areas, in_shares=contents.in_shares)


def _content(entry: LabeledImage) -> list[tuple[object, ...]]:
    """The objects of an image for comparison, without their locations in the file."""
    return [
        (labeled.class_name, labeled.box, labeled.crowd, labeled.difficult, labeled.segmentation)
        for labeled in entry.objects
    ]


def _sized(
    entries: Sequence[LabeledImage], images: ImageRoot, problems: list[Problem]
) -> list[tuple[LabeledImage, tuple[int, int]]]:
    """Images whose size agrees with the labels, with that size."""
    sized = []
    sizes = _measure_all(images, [entry.image for entry in entries])
    for entry, size in zip(entries, sizes, strict=True):
        if isinstance(size, UnreadableImage):
            problems.append(
                Problem(f"{entry.where} names {entry.image}, which cannot be read ({size.reason})", "repair it")
            )
        elif entry.size not in (None, size):
            problems.append(_disagreement(entry.where, entry.image, entry.size or size, size))
        else:
            sized.append((entry, size))
    return sized


def _measure_all(images: ImageRoot, names: Sequence[str]) -> Iterator[tuple[int, int] | UnreadableImage]:
    """Width and height of each upright image in pixels, or why it cannot be read, in the order of the names."""
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(lambda name: _measure(images / name), names)


def _measure(path: ImagePath) -> tuple[int, int] | UnreadableImage:
    try:
        try:
            with opened(path) as file:
                beginning = file.read(_BEGINNING)
                # Other formats may state the orientation after the pixels.
                image = open_image(beginning if beginning.startswith(JPEG) else beginning + file.read())
        except UnreadableImage:  # perhaps only because the header is longer
            image = open_image(path)
    except UnreadableImage as error:
        return error
    return image.width, image.height


def _disagreement(where: str, name: str, stated: tuple[int, int], real: tuple[int, int]) -> Problem:
    sentence = f"{where} gives {name} {stated[0]} x {stated[1]} pixels, but the image has {real[0]} x {real[1]}"
    if stated == real[::-1]:
        return Problem(
            sentence, "label it upright, as its EXIF orientation says, or remove the orientation from the file"
        )
    return Problem(sentence, "boxes must be in the pixels of the image: give the folder of those that were labeled")


def _classes(contents: DetectionContents, sized: Sequence[tuple[LabeledImage, tuple[int, int]]]) -> tuple[str, ...]:
    """Classes that the file declares, else those that occur in it."""
    occurring = {labeled.class_name for entry, _ in sized for labeled in entry.objects}
    return tuple(contents.category_ids) or tuple(sorted(occurring, key=_alphabetical))


def _alphabetical(name: str) -> tuple[bool, int, str]:
    """Sort key with which 10 follows 9."""
    return (False, int(name), name) if name.isdecimal() else (True, 0, name)


def _category_ids(classes: Sequence[str], known: dict[str, Identifier]) -> tuple[Identifier, ...]:
    """Ids of the file, and new ones for classes that it does not have."""
    new = itertools.count(next_number(known.values()))
    return tuple(known[name] if name in known else next(new) for name in classes)
