"""Validation of labeled objects against their image, and of all boxes together against their format."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from manyview.errors import UserError
from manyview.labels.entries import CENTER, CORNERS, TOP_LEFT, LabeledImage, LabeledObject
from manyview.labels.masks import Rle, mask_areas, to_rle
from manyview.labels.objects import Objects
from manyview.labels.problems import Malformed, Problem, in_quotes, nearest_class

_ROUNDING = 1.0  # pixels beyond the edge that are not worth a note
_FEWEST = 4  # boxes from which something can be concluded
_BEYOND = 0.05  # share of the image's side; annotators draw over the edge by less
_NEARLY_ALL = 0.98  # share of the boxes that fit if read otherwise; some are faulty in themselves
_MANY = 0.1  # share of the boxes that are cut
_AREA = 0.01  # relative difference of equal areas

Boxes = Float64[np.ndarray, "objects 4"]
Sizes = Int64[np.ndarray, "objects 2"]

_CLASS = "correct the name or remove the object"
_BOX = "a box is left, top, width, height in pixels, the latter two not negative"
_SCALE = "boxes must be in the pixels of the image"
_MASK = "a segmentation is polygons of x and y in turn, or run lengths of the image's size"


class ObjectChecker:
    """Converts labeled objects to checked ones, and collects notes about them.

    Args:
        classes: names of the known classes.
        masks: whether the objects have masks.
        problems: list to which problems of objects are added; such objects are left out.
    """

    def __init__(self, classes: Sequence[str], masks: bool, problems: list[Problem]) -> None:
        self._labels = {name: label for label, name in enumerate(classes, start=1)}
        self._classes = tuple(classes)
        self._masks, self._problems = masks, problems
        self._beyond: list[str] = []
        self._empty: list[str] = []

    @np.errstate(over="ignore", invalid="ignore")
    def objects(self, entry: LabeledImage, size: tuple[int, int]) -> Objects:
        """Check the objects of one image of ``size`` (width, height) pixels.

        Raises:
            UserError: masks are wanted, and pycocotools is not installed.
        """
        kept: list[LabeledObject] = []
        masks: list[Rle] = []
        for labeled in entry.objects:
            try:
                self._check(labeled, size)
                if self._masks:
                    masks.append(to_rle(labeled.segmentation, *size))
            except Malformed as error:
                advice = error.advice if isinstance(error, _Fault) else _MASK
                self._problems.append(Problem(f"{labeled.where} in {entry.image} {error}", advice))
                continue
            kept.append(labeled)
        objects = self._assemble(kept, masks, size)
        for labeled, trained in zip(kept, objects.trained, strict=True):
            self._note(f"{labeled.where} in {entry.image}", labeled, size, trained=bool(trained))
        return objects

    def notes(self) -> Iterator[str]:
        """Sentences on clipped and empty boxes, which are not problems."""
        if self._beyond:
            yield f"cut to the image for training: {_summary(self._beyond)}"
        if self._empty:
            yield f"left out of training for having no area: {_summary(self._empty)}"

    def _check(self, labeled: LabeledObject, size: tuple[int, int]) -> None:
        if labeled.class_name not in self._labels:
            hint = nearest_class(labeled.class_name, self._classes)
            raise _Fault(f"is of the unknown class {in_quotes(labeled.class_name)}{hint}", _CLASS)
        left, top, width, height = labeled.box
        if not all(math.isfinite(value) for value in labeled.box) or width < 0 or height < 0:
            raise _Fault(f"has the box {_shown(labeled)}, which is not valid", _BOX)
        outside = left >= size[0] or top >= size[1] or left + width <= 0 or top + height <= 0
        if outside and width > 0 and height > 0:  # without area it is not trained on, wherever it lies
            sentence = f"has the box {_shown(labeled)}, which lies outside of its {size[0]} x {size[1]} pixels"
            raise _Fault(sentence, _SCALE)
        if labeled.area is not None and not (math.isfinite(labeled.area) and labeled.area >= 0):
            raise _Fault(f"has the area {labeled.area:g}", "an area is in pixels, 0 or more")

    def _note(self, name: str, labeled: LabeledObject, size: tuple[int, int], *, trained: bool) -> None:
        left, top, width, height = labeled.box
        if not trained and not labeled.crowd:
            self._empty.append(name)
        elif max(-left, -top, left + width - size[0], top + height - size[1]) > _ROUNDING:
            self._beyond.append(name)

    def _assemble(self, kept: Sequence[LabeledObject], masks: Sequence[Rle], size: tuple[int, int]) -> Objects:
        boxes = np.array([labeled.box for labeled in kept], dtype=np.float64).reshape(-1, 4)
        edges = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        areas = mask_areas(masks) if masks else boxes[:, 2] * boxes[:, 3]
        stated = [own if labeled.area is None else labeled.area for labeled, own in zip(kept, areas, strict=True)]
        return Objects(
            boxes=np.clip(edges, 0, [*size, *size]).astype(np.float32),
            labels=np.array([self._labels[labeled.class_name] for labeled in kept], dtype=np.int64),
            crowd=np.array([labeled.crowd for labeled in kept], dtype=bool),
            difficult=np.array([labeled.difficult for labeled in kept], dtype=bool),
            area=np.array(stated, dtype=np.float64),
            labeled_boxes=boxes,
            segmentations=tuple(masks) if self._masks else None,
        )


class _Fault(Malformed):
    """A defect of an object, with advice on how to correct it."""

    def __init__(self, sentence: str, advice: str) -> None:
        super().__init__(sentence)
        self.advice = advice


def _shown(labeled: LabeledObject) -> str:
    return f"[{', '.join(f'{value:g}' for value in labeled.box)}]"


def _summary(names: Sequence[str]) -> str:
    return f"{len(names)} boxes, the first being {names[0]}" if len(names) > 1 else f"the box of {names[0]}"


# Boxes of another layout than their format's.


@np.errstate(over="ignore", invalid="ignore")  # of absurd numbers, which are refused as such
def check_layout(
    file: Path,
    boxes: Float64[np.ndarray, "objects 4"],
    sizes: Int64[np.ndarray, "objects 2"],
    *,
    layout: str = TOP_LEFT,
    areas: Sequence[float | None] = (),
    in_shares: bool = False,
) -> None:
    """Refuse boxes that are evidently not what their format means.

    Args:
        file: the label file, for messages.
        boxes: left, top, width, height of each object in pixels, as the format's numbers give them.
        sizes: width and height of each object's image in pixels.
        layout: what a box's numbers are in the format.
        areas: of each object, if stated.
        in_shares: whether the format's boxes are shares of the image's sides, instead of pixels.

    Raises:
        UserError: no number of a box is above 1, as shares of the image in place of pixels have it; or many reach
            far beyond their images, or have another area than stated, while none does if its four numbers are read in
            another layout.
    """
    with_area = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    boxes, sizes = boxes[with_area], sizes[with_area]
    stated = [area for area, keep in zip(areas, with_area, strict=True) if keep] if len(areas) else []
    if not in_shares:
        _check_pixels(file, boxes, sizes, layout)
    if len(boxes) < _FEWEST:
        return
    numbers = _numbers(boxes, layout)
    far = _beyond(boxes, sizes, _BEYOND * sizes)
    many = far.sum() >= max(2, _MANY * len(boxes))
    for other in (CORNERS, TOP_LEFT, CENTER):
        if other == layout:
            continue
        read = _read(numbers, other)
        fits = (read[:, 2:] > 0).all(axis=1) & ~_beyond(read, sizes, np.full(2, _ROUNDING))
        if fits.mean() >= _NEARLY_ALL and (many or _has_areas(read, boxes, stated)):
            example = int(np.argmax(far))
            shown = ", ".join(f"{value:g}" for value in numbers[example])
            raise UserError(
                f"{file} gives its boxes as {other}, such as [{shown}] in an image of "
                f"{sizes[example][0]} x {sizes[example][1]} pixels, where its format has {layout}: convert them"
            )


def _check_pixels(file: Path, boxes: Boxes, sizes: Sizes, layout: str) -> None:
    numbers = _numbers(boxes, layout)  # Pascal VOC's corners count from 1, so that those of shares begin at -1
    if len(boxes) and (abs(numbers) <= 1 + _AREA).all() and (boxes % 1 != 0).any() and (sizes > 1).all():
        shown = ", ".join(f"{value:g}" for value in numbers[0])
        raise UserError(
            f"{file} gives its boxes as shares of the image, such as [{shown}] in an image of {sizes[0][0]} x "
            f"{sizes[0][1]} pixels, where its format has pixels: multiply them by the image's width and height"
        )


def _numbers(boxes: Boxes, layout: str) -> Boxes:
    """The four numbers of boxes (left, top, width, height) in a layout."""
    start, extent = boxes[:, :2], boxes[:, 2:]
    if layout == CORNERS:
        return np.concatenate([start, start + extent], axis=1)
    return np.concatenate([start + extent / 2, extent], axis=1) if layout == CENTER else boxes


def _read(numbers: Boxes, layout: str) -> Boxes:
    """Boxes (left, top, width, height) whose four numbers have a layout."""
    start, others = numbers[:, :2], numbers[:, 2:]
    if layout == CORNERS:
        return np.concatenate([start, others - start], axis=1)
    return np.concatenate([start - others / 2, others], axis=1) if layout == CENTER else numbers


def _beyond(boxes: Boxes, sizes: Sizes, slack: Float64[np.ndarray, ...]) -> Bool[np.ndarray, " objects"]:
    """Which boxes reach beyond their images by more than some pixels."""
    start, end = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    return ((start < -slack) | (end > sizes + slack)).any(axis=1)


def _has_areas(read: Boxes, boxes: Boxes, stated: Sequence[float | None]) -> bool:
    """Whether every object states the area of the box as read, and few that of the box as the format means it."""
    if not stated or any(area is None for area in stated):
        return False
    areas = np.array(stated, dtype=np.float64)
    as_read, as_meant = (
        np.isclose(each[:, 2:].prod(axis=1), areas, rtol=_AREA, atol=_ROUNDING) for each in (read, boxes)
    )
    return bool(as_read.all() and as_meant.mean() < _MANY)
