"""Validation of labeled objects against their image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from manyview.labels.entries import LabeledImage, LabeledObject
from manyview.labels.masks import Rle, mask_tools, to_rle
from manyview.labels.objects import Objects
from manyview.labels.problems import Malformed, Problem, nearest_class

_ROUNDING = 1.0  # pixels beyond the edge that are not worth a note
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
            raise _Fault(f"is of the unknown class {labeled.class_name!r}{hint}", _CLASS)
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
        areas = mask_tools().area(list(masks)) if masks else boxes[:, 2] * boxes[:, 3]
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
