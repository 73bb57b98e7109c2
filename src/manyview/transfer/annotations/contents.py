"""What the reader of each format makes of a label file, before the photographs are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from manyview.images.labels.problems import Problem

LabelledBox = tuple[float, float, float, float]
"""Left, top, width and height in pixels, from the edge of the first pixel."""


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


@dataclass(frozen=True, slots=True)
class DetectionContents:
    """The contents of a label file.

    Attributes:
        entries: its photographs.
        problems: of what could not be read.
        category_ids: of the classes by name, in their order, where the file declares them; else empty.
        by_stem: whether photographs are named without their extension.
    """

    entries: list[LabelledImage]
    problems: list[Problem]
    category_ids: dict[str, int]
    by_stem: bool
