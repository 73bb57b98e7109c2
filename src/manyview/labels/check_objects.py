"""Each object held against its image."""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from manyview.labels.entries import LabeledImage, LabeledObject
from manyview.labels.masks import Rle, mask_tools, to_rle
from manyview.labels.objects import Objects
from manyview.labels.problems import Malformed, Problem

_ROUNDING = 1.0  # pixels beyond the edge that are no news
_CLASS = "mend the name or remove the object"
_BOX = "a box is left, top, width, height in pixels, the latter two not negative"
_SCALE = "boxes must be in the pixels of the image"
_MASK = "a segmentation is polygons of x and y in turn, or run lengths of the image's size"


class Checking:
    """Makes labeled objects into checked ones, and remembers what was odd about them.

    Args:
        classes: the known ones.
        masks: whether the objects have masks.
        problems: where those of objects go; such objects are left out.
    """

    def __init__(self, classes: Sequence[str], masks: bool, problems: list[Problem]) -> None:
        self._labels = {name: label for label, name in enumerate(classes, start=1)}
        self._masks, self._problems = masks, problems
        self._beyond: list[str] = []
        self._empty: list[str] = []
        self._nearest = functools.cache(self._find_nearest)

    def objects(self, entry: LabeledImage, size: tuple[int, int]) -> Objects:
        """Those of one image of ``size`` (width, height) pixels.

        Raises:
            UserError: masks are wanted, and pycocotools is not installed.
        """
        kept: list[LabeledObject] = []
        masks: list[Rle] = []
        for thing in entry.objects:
            try:
                self._check(thing, size)
                if self._masks:
                    masks.append(to_rle(thing.segmentation, *size))
            except Malformed as error:
                advice = error.advice if isinstance(error, _Fault) else _MASK
                self._problems.append(Problem(f"{thing.where} in {entry.image} {error}", advice))
                continue
            kept.append(thing)
        objects = self._assemble(kept, masks, size)
        for thing, trained in zip(kept, objects.trained, strict=True):
            self._note(f"{thing.where} in {entry.image}", thing, size, trained=bool(trained))
        return objects

    def notes(self) -> Iterator[str]:
        """What was odd, but no problem, a sentence each."""
        if self._beyond:
            yield f"cut to the image for training: {_summary(self._beyond)}"
        if self._empty:
            yield f"left out of training for having no area: {_summary(self._empty)}"

    def _check(self, thing: LabeledObject, size: tuple[int, int]) -> None:
        if thing.kind not in self._labels:
            raise _Fault(f"is of the unknown class {thing.kind!r}{self._nearest(thing.kind)}", _CLASS)
        left, top, width, height = thing.box
        if not all(math.isfinite(value) for value in thing.box) or width < 0 or height < 0:
            raise _Fault(f"has the box {_shown(thing)}, which is none", _BOX)
        outside = left >= size[0] or top >= size[1] or left + width <= 0 or top + height <= 0
        if outside and width > 0 and height > 0:  # without area it is not trained on, wherever it lies
            sentence = f"has the box {_shown(thing)}, which lies outside of its {size[0]} x {size[1]} pixels"
            raise _Fault(sentence, _SCALE)
        if thing.area is not None and not (math.isfinite(thing.area) and thing.area >= 0):
            raise _Fault(f"has the area {thing.area:g}", "an area is in pixels, 0 or more")

    def _find_nearest(self, kind: str) -> str:
        near = difflib.get_close_matches(kind, self._labels, n=1, cutoff=0)
        return f", the nearest known one being {near[0]!r}" if near else ""

    def _note(self, name: str, thing: LabeledObject, size: tuple[int, int], *, trained: bool) -> None:
        left, top, width, height = thing.box
        if not trained and not thing.crowd:
            self._empty.append(name)
        elif max(-left, -top, left + width - size[0], top + height - size[1]) > _ROUNDING:
            self._beyond.append(name)

    def _assemble(self, kept: Sequence[LabeledObject], masks: Sequence[Rle], size: tuple[int, int]) -> Objects:
        labelled = np.array([thing.box for thing in kept], dtype=np.float64).reshape(-1, 4)
        edges = np.concatenate([labelled[:, :2], labelled[:, :2] + labelled[:, 2:]], axis=1)
        areas = mask_tools().area(list(masks)) if masks else labelled[:, 2] * labelled[:, 3]
        stated = [own if thing.area is None else thing.area for thing, own in zip(kept, areas, strict=True)]
        return Objects(
            boxes=np.clip(edges, 0, [*size, *size]).astype(np.float32),
            labels=np.array([self._labels[thing.kind] for thing in kept], dtype=np.int64),
            crowd=np.array([thing.crowd for thing in kept], dtype=bool),
            difficult=np.array([thing.difficult for thing in kept], dtype=bool),
            area=np.array(stated, dtype=np.float64),
            labeled_boxes=labelled,
            segmentations=tuple(masks) if self._masks else None,
        )


class _Fault(Malformed):
    """What is wrong with an object, and what to do about it."""

    def __init__(self, sentence: str, advice: str) -> None:
        super().__init__(sentence)
        self.advice = advice


def _shown(thing: LabeledObject) -> str:
    return f"[{', '.join(f'{value:g}' for value in thing.box)}]"


def _summary(names: Sequence[str]) -> str:
    return f"{len(names)} boxes, the first being {names[0]}" if len(names) > 1 else f"the box of {names[0]}"
