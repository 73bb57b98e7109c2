"""What the reader of each format makes of a label file, before the photographs are looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from manyview.labels.problems import Problem

LabelledBox = tuple[float, float, float, float]
"""Left, top, width and height, from the edge of the first pixel."""


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """One object as labelled, unchecked.

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
    box: LabelledBox
    crowd: bool = False
    difficult: bool = False
    area: float | None = None
    segmentation: Any = None


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One photograph as labelled.

    Attributes:
        where: its place in the label file, such as "image id 3".
        image: its name, as the file gives it.
        number: COCO's id, if it has one.
        size: width and height in pixels, if stated.
        objects: those in it.
    """

    where: str
    image: str
    number: int | None
    size: tuple[int, int] | None
    objects: tuple[LabelledObject, ...]

    def in_pixels(self, width: int, height: int) -> LabelledImage:
        """The same with boxes and outlines in pixels that are here in shares of the photograph's sides."""
        return replace(self, objects=tuple(_in_pixels(thing, width, height) for thing in self.objects))


@dataclass(frozen=True, slots=True)
class DetectionContents:
    """The contents of a label file.

    Attributes:
        entries: its photographs.
        problems: of what could not be read.
        category_ids: of the classes by name, in their order, where the file declares them; else empty.
        by_stem: whether photographs are named without their extension.
        in_shares: whether boxes and outlines are in shares of the photograph's width and height, instead of pixels.
    """

    entries: list[LabelledImage]
    problems: list[Problem]
    category_ids: dict[str, int]
    by_stem: bool
    in_shares: bool = False


def _in_pixels(thing: LabelledObject, width: int, height: int) -> LabelledObject:
    left, top, across, down = thing.box
    scaled = replace(thing, box=(left * width, top * height, across * width, down * height))
    if thing.segmentation is None:
        return scaled
    outlines = [
        [value * (height if place % 2 else width) for place, value in enumerate(outline)]
        for outline in thing.segmentation
    ]
    return replace(scaled, segmentation=outlines)
