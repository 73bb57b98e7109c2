"""Where the time of a photograph's views goes: each step, and each operation on pixels, alone on the same input."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.views.contestants import Task
from manyview.config import BlockViewsConfig
from manyview.images import open_image
from manyview.views import BlockViews, ViewParameters, largest_shrink, render_views, sample_views, shrink_crops

WHOLE, BARE, REST = "everything", "crops and resizes", "the rest"
COLORS = ("brightness", "contrast", "saturation", "hue")


@dataclass(frozen=True)
class Prepared:
    """A photograph that is decoded for its views, with their parameters at its scale."""

    pixels: np.ndarray
    parameters: tuple[ViewParameters, ...]
    shrink: int


def ways(task: Task) -> dict[str, Callable[[int], Any]]:
    """Functions of an image's index: the whole way, its steps, and the rendering with one operation each."""
    views = BlockViews(view_size=task.view_size, output="uint8", seed=0)
    ready = [_prepare(views.config, data, index) for index, data in enumerate(task.jpegs)]

    def sample(index: int) -> int:
        height, width, _ = ready[index].pixels.shape
        drawn = sample_views(views.config, width, height, seed=0, epoch=0, image=index)
        return largest_shrink((view.crop for view in drawn), task.view_size)

    def render(alter: Callable[[ViewParameters], ViewParameters]) -> Callable[[int], np.ndarray]:
        altered = [[alter(view) for view in one.parameters] for one in ready]
        return lambda index: render_views(ready[index].pixels, altered[index], task.view_size)

    return {
        WHOLE: lambda index: views.at(task.jpegs[index], index),
        "header": lambda index: open_image(task.jpegs[index]),
        "decoding": lambda index: open_image(task.jpegs[index]).decode(ready[index].shrink),
        "drawing of parameters": sample,
        BARE: render(_bare),
        **{name: render(partial(_only_color, name)) for name in COLORS},
        "grayscale": render(lambda view: replace(_bare(view), grayscale=view.grayscale)),
        "blur": render(lambda view: replace(_bare(view), blur_sigma=view.blur_sigma)),
        "mirroring": render(lambda view: replace(_bare(view), flip=view.flip)),
    }


def shares(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Share of the whole by part, median of the rounds; an operation's is what it adds to the crops.

    Operations that a view has together share the reading and writing of its pixels, which is counted for each here; so
    the rest, which is all that no part accounts for, may be below 0.
    """
    rounds = [dict(zip(seconds, values, strict=True)) for values in zip(*seconds.values(), strict=True)]
    alone = ("header", "drawing of parameters", BARE)
    found: dict[str, float] = {}
    for name in seconds:
        if name != WHOLE:
            less = None if name in alone else "header" if name == "decoding" else BARE
            by_round = [(one[name] - (one[less] if less else 0)) / one[WHOLE] for one in rounds]
            found[name] = statistics.median(by_round)
    found[REST] = 1 - sum(found.values())
    return found


def _prepare(config: BlockViewsConfig, data: bytes, index: int) -> Prepared:
    image = open_image(data)
    drawn = sample_views(config, image.width, image.height, seed=0, epoch=0, image=index)
    shrink = largest_shrink((view.crop for view in drawn), config.size)
    pixels = image.decode(shrink)
    return Prepared(pixels, shrink_crops(drawn, shrink, (pixels.shape[1], pixels.shape[0])), shrink)


def _bare(view: ViewParameters) -> ViewParameters:
    return replace(view, flip=False, jitter=None, grayscale=False, blur_sigma=None, solarize=False)


def _only_color(name: str, view: ViewParameters) -> ViewParameters:
    return replace(_bare(view), jitter=view.jitter and replace(view.jitter, order=(name,)))
