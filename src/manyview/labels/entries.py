"""What a label format declares, and what its readers make of a label file before the images are looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from manyview.labels.problems import OfImage, Problem

LabeledBox = tuple[float, float, float, float]
"""Left, top, width and height, from the edge of the first pixel."""


@dataclass(frozen=True, slots=True)
class Entry(OfImage):
    """An image with its labels.

    Attributes:
        shown: classes that it shows.
        difficult: classes of which it shows difficult objects only.
    """

    shown: frozenset[str]
    difficult: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Contents:
    """The labels of images in a label file.

    Attributes:
        entries: those without a problem.
        problems: of the others.
        classes: in the order of the columns.
        declares_classes: whether the file says which classes there are; otherwise these are those that occur.
        covers_other_classes: whether images are known not to show classes other than these.
        by_stem: whether images are named without their extension.
    """

    entries: list[Entry]
    problems: list[Problem]
    classes: list[str]
    declares_classes: bool = True
    covers_other_classes: bool = True
    by_stem: bool = True


def occurring(entries: Sequence[Entry]) -> set[str]:
    """The classes of some entries."""
    return {label for entry in entries for label in entry.shown | entry.difficult}


@dataclass(frozen=True, slots=True)
class LabeledObject:
    """One object as labeled, unchecked.

    Attributes:
        where: its place in the label file, such as "annotation 7".
        kind: name of its class.
        box: where it is.
        crowd: whether it is a crowd.
        difficult: whether it is called difficult.
        area: in pixels, if stated.
        segmentation: its mask in any of COCO's forms, if wanted.
    """

    where: str
    kind: str
    box: LabeledBox
    crowd: bool = False
    difficult: bool = False
    area: float | None = None
    segmentation: Any = None

    def in_pixels(self, width: int, height: int) -> LabeledObject:
        """The same with its box and outline in pixels that are here in shares of the image's sides."""
        left, top, across, down = self.box
        scaled = replace(self, box=(left * width, top * height, across * width, down * height))
        if self.segmentation is None:
            return scaled
        outlines = [
            [value * (height if place % 2 else width) for place, value in enumerate(outline)]
            for outline in self.segmentation
        ]
        return replace(scaled, segmentation=outlines)


@dataclass(frozen=True, slots=True)
class LabeledImage(OfImage):
    """One image with its objects as labeled.

    Attributes:
        number: COCO's id, if it has one.
        size: width and height in pixels, if stated.
        objects: those in it.
    """

    number: int | None = None
    size: tuple[int, int] | None = None
    objects: tuple[LabeledObject, ...] = ()

    def in_pixels(self, width: int, height: int) -> LabeledImage:
        """The same with boxes and outlines in pixels that are here in shares of the image's sides."""
        return replace(self, objects=tuple(thing.in_pixels(width, height) for thing in self.objects))


@dataclass(frozen=True, slots=True)
class DetectionContents:
    """The objects in a label file.

    Attributes:
        entries: its images.
        problems: of what could not be read.
        category_ids: of the classes by name, in their order, where the file declares them; else empty.
        by_stem: whether images are named without their extension.
        in_shares: whether boxes and outlines are in shares of the image's width and height, instead of pixels.
    """

    entries: list[LabeledImage]
    problems: list[Problem]
    category_ids: dict[str, int] = field(default_factory=dict)
    by_stem: bool = True
    in_shares: bool = False


@dataclass(frozen=True, slots=True)
class LabelFiles:
    """A label file, or a folder with the label files below it.

    Attributes:
        path: the file or folder.
        ending: of the file's name, or of the names of the folder's label files, in lower case.
        names: of the folder's label files, in the order of their bytes; None for a file.
    """

    path: Path
    ending: str
    names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LabelReader:
    """How a format's labels of images are read.

    Attributes:
        about: what to give, as the list of all formats names it.
        recognizes: whether this is such a file or folder.
        read: its labels.
    """

    about: str
    recognizes: Callable[[LabelFiles], bool]
    read: Callable[[LabelFiles], Contents]


@dataclass(frozen=True, slots=True)
class ObjectReader:
    """How a format's objects are read.

    Attributes:
        about: what to give, as the list of all formats names it.
        recognizes: whether this is such a file or folder.
        read: its objects; the second argument says whether their masks are wanted.
        masks: what holds masks in it, as the list of all formats with masks names it; empty: it has none.
    """

    about: str
    recognizes: Callable[[LabelFiles], bool]
    read: Callable[[LabelFiles, bool], DetectionContents]
    masks: str = ""


@dataclass(frozen=True, slots=True)
class LabelFormat:
    """One format of label files.

    Attributes:
        name: short, in lower case.
        title: as its makers write it.
        labels: readers of the labels of images.
        objects: readers of objects.
        folder_endings: of the files in a folder that are its label files; empty: it knows no folders.
        no_labels: names of files in a folder that end so and are no label files.
    """

    name: str
    title: str
    labels: tuple[LabelReader, ...] = ()
    objects: tuple[ObjectReader, ...] = ()
    folder_endings: tuple[str, ...] = ()
    no_labels: frozenset[str] = frozenset()
