"""Declarations of label formats, and their readers' results before the images are checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from manyview.labels.identifiers import Identifier
from manyview.labels.problems import OfImage, Problem
from manyview.labels.table import LabelTable

LabeledBox = tuple[float, float, float, float]
"""Left, top, width and height, from the edge of the first pixel."""

CORNERS, TOP_LEFT, CENTER = "left, top, right, bottom", "left, top, width, height", "center x, center y, width, height"
"""What the four numbers of a box are in a format."""


@dataclass(frozen=True, slots=True)
class Entry(OfImage):
    """An image with its labels.

    Attributes:
        shown: classes in the image.
        difficult: classes with difficult objects only.
    """

    shown: frozenset[str]
    difficult: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Contents:
    """Image labels of a label file.

    Attributes:
        entries: images whose labels could be read.
        problems: of the other images.
        classes: in the order of the columns.
        declares_classes: whether the file lists its classes; otherwise they are those that occur.
        covers_other_classes: whether classes other than these are known to be absent from the images.
        by_stem: whether images are named without their extension.
        notes: sentences for the user that are no problems.
    """

    entries: list[Entry]
    problems: list[Problem]
    classes: list[str]
    declares_classes: bool = True
    covers_other_classes: bool = True
    by_stem: bool = True
    notes: tuple[str, ...] = ()


def occurring(entries: Sequence[Entry]) -> set[str]:
    """Classes that occur in entries."""
    return {label for entry in entries for label in entry.shown | entry.difficult}


@dataclass(frozen=True, slots=True)
class LabeledObject:
    """An unchecked object of a label file.

    Attributes:
        where: its location in the label file, such as "annotation 7".
        class_name: name of its class.
        box: in pixels, or as fractions of the image's sides.
        crowd: whether it is a crowd.
        difficult: whether it is flagged as difficult.
        area: in pixels, if stated.
        segmentation: its mask in any of COCO's formats, if requested.
    """

    where: str
    class_name: str
    box: LabeledBox
    crowd: bool = False
    difficult: bool = False
    area: float | None = None
    segmentation: Any = None

    def in_pixels(self, width: int, height: int) -> LabeledObject:
        """Convert box and outline from fractions of the image's sides to pixels."""
        left, top, across, down = self.box
        scaled = replace(self, box=(left * width, top * height, across * width, down * height))
        if self.segmentation is None:
            return scaled
        outlines = [
            [value * (height if index % 2 else width) for index, value in enumerate(outline)]
            for outline in self.segmentation
        ]
        return replace(scaled, segmentation=outlines)


@dataclass(frozen=True, slots=True)
class LabeledImage(OfImage):
    """An image with its unchecked objects.

    Attributes:
        number: COCO's id, if it has one.
        size: width and height in pixels, if stated.
        objects: of the image.
    """

    number: Identifier | None = None
    size: tuple[int, int] | None = None
    objects: tuple[LabeledObject, ...] = ()

    def in_pixels(self, width: int, height: int) -> LabeledImage:
        """Convert boxes and outlines from fractions of the image's sides to pixels."""
        return replace(self, objects=tuple(labeled.in_pixels(width, height) for labeled in self.objects))


@dataclass(frozen=True, slots=True)
class DetectionContents:
    """Objects of a label file.

    Attributes:
        entries: images with their objects.
        problems: of entries that could not be read.
        category_ids: ids of the classes by name, in their order, where the file declares them; else empty.
        by_stem: whether images are named without their extension.
        in_shares: whether boxes and outlines are fractions of the image's width and height, instead of pixels.
        box_layout: what the four numbers of a box are in the format.
        notes: sentences for the user that are no problems.
    """

    entries: list[LabeledImage]
    problems: list[Problem]
    category_ids: dict[str, Identifier] = field(default_factory=dict)
    by_stem: bool = True
    in_shares: bool = False
    box_layout: str = TOP_LEFT
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelFiles:
    """A label file, or a folder with the label files below it.

    Attributes:
        path: the file or folder.
        ending: extension of the file or of the folder's label files, in lower case.
        names: of the folder's label files, in the order of their bytes; None for a file.
        table: how a CSV file is laid out.
        split: of a data set's YAML file, the images to read: "train", "val" or "test".
        class_names: file that names the classes, where label files have numbers; None: found beside them.
    """

    path: Path
    ending: str
    names: tuple[str, ...] | None = None
    table: LabelTable = field(default_factory=LabelTable)
    split: str = "train"
    class_names: Path | None = None


@dataclass(frozen=True, slots=True)
class LabelReader:
    """Reader of a format's image labels.

    Attributes:
        about: the file or folder it reads, as listed in messages.
        recognizes: whether a file or folder has this format.
        read: returns the labels.
    """

    about: str
    recognizes: Callable[[LabelFiles], bool]
    read: Callable[[LabelFiles], Contents]


@dataclass(frozen=True, slots=True)
class ObjectReader:
    """Reader of a format's objects.

    Attributes:
        about: the file or folder it reads, as listed in messages.
        recognizes: whether a file or folder has this format.
        read: returns the objects; the second argument says whether masks are requested.
        masks: what holds masks in this format, as listed in messages; empty: it has no masks.
    """

    about: str
    recognizes: Callable[[LabelFiles], bool]
    read: Callable[[LabelFiles, bool], DetectionContents]
    masks: str = ""


@dataclass(frozen=True, slots=True)
class LabelFormat:
    """A format of label files.

    Attributes:
        name: short, in lower case.
        title: as its makers write it.
        labels: readers of image labels.
        objects: readers of objects.
        folder_endings: extensions of the label files in a folder; empty: folders are not supported.
        no_labels: names of files with these extensions that are not label files.
        class_names: whether label files have classes by number, whose names stand elsewhere.
    """

    name: str
    title: str
    labels: tuple[LabelReader, ...] = ()
    objects: tuple[ObjectReader, ...] = ()
    folder_endings: tuple[str, ...] = ()
    no_labels: frozenset[str] = frozenset()
    class_names: bool = False
