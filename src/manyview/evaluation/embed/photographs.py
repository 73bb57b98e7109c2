"""Feature maps of photographs or of their blocks, a batch at a time; what cannot be read is passed over and told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8, UInt16
from torch import Tensor
from torch.utils.data import Dataset

from manyview.errors import UserError
from manyview.evaluation.features.backbone import FrozenBackbone
from manyview.images import ImageFiles, UnreadableImage, open_photograph
from manyview.images.bands import same_depth
from manyview.images.loader import load_in_workers
from manyview.views import Box, ViewParameters, block_boxes, render_views

Boxes = Callable[[int, int], Sequence[Box]]
"""From a photograph's width and height to the parts of it that are shown to a network."""

Crops = UInt8[np.ndarray, "boxes channels size size"] | UInt16[np.ndarray, "boxes channels size size"]
Place = tuple[int, int, int]
"""Index of a photograph, its width and its height."""


def whole(width: int, height: int) -> tuple[Box, ...]:
    """The photograph as one part."""
    return ((0, 0, width, height),)


def four_blocks(width: int, height: int) -> tuple[Box, ...]:
    """The paper's four blocks, which overlap by .2 (Section 3.1)."""
    return block_boxes(width, height)


@dataclass(frozen=True, slots=True)
class Unread:
    """A photograph that cannot be read, by its index, and why."""

    index: int
    reason: str


class Batch(NamedTuple):
    """Some photographs: pixels (photographs, boxes, channels, S, S) of those that can be read, and the others."""

    pixels: Tensor | None
    places: list[Place]
    unread: list[Unread]


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Feature maps of some photographs.

    Attributes:
        maps: (photographs, boxes, D, h, w), on the backbone's device.
        places: index, width and height of each of the photographs.
        unread: photographs of the batch that could not be read.
    """

    maps: Float32[Tensor, "photographs boxes dim rows columns"]
    places: list[Place]
    unread: list[Unread]


class PhotographsInBoxes(Dataset[tuple[Crops, Place] | Unread]):
    """Parts of each photograph, each warped to S x S pixels (bilinear with antialiasing).

    Args:
        files: the photographs.
        size: S.
        boxes: which parts; as many of each photograph.
        bands: "rgb", or the number of bands that each has.
    """

    def __init__(self, files: ImageFiles, size: int, boxes: Boxes = whole, bands: Literal["rgb"] | int = "rgb") -> None:
        self.files, self.size, self.boxes, self.bands = files, size, boxes, bands

    def __getitem__(self, index: int) -> tuple[Crops, Place] | Unread:
        try:
            photograph = open_photograph(self.files.path(index), self.bands).decode()
        except UnreadableImage as error:
            return Unread(index, error.reason)
        height, width = photograph.shape[:2]
        views = [_plain_view(box) for box in self.boxes(width, height)]
        crops = render_views(photograph, views, self.size, rgb=(0, 1, 2) if self.bands == "rgb" else None)
        return crops, (index, width, height)


def feature_maps(
    network: FrozenBackbone,
    photographs: PhotographsInBoxes,
    indices: Sequence[int],
    *,
    batch_size: int,
    workers: int | None = None,
) -> Iterator[Maps]:
    """A network's feature maps of the parts of photographs, in the order of ``indices``; one batch is held at a time.

    Args:
        network: the backbone.
        photographs: what is shown to it.
        indices: which of them.
        batch_size: photographs at a time, those included that cannot be read.
        workers: loader processes, 0 for none; unset: by cores. The maps do not depend on it.

    Yields:
        One element a batch; without any map where none of its photographs can be read.

    Raises:
        UserError: the network fails on images of this size, or gives features that are not finite.
    """
    pin = network.device.type == "cuda"
    loaded = load_in_workers(
        photographs, workers=workers, pin=pin, batch_size=batch_size, sampler=indices, collate_fn=_collate
    )
    for pixels, places, unread in loaded:
        if pixels is None:
            yield Maps(torch.empty(0, 0, 0, 0, 0), places, unread)
            continue
        maps = network(pixels.flatten(0, 1))
        if not bool(maps.isfinite().all()):
            raise UserError(
                "the backbone gives features that are not finite: its weights are damaged, or come from a run that "
                "diverged"
            )
        yield Maps(maps.unflatten(0, tuple(pixels.shape[:2])), places, unread)


def _collate(items: list[tuple[Crops, Place] | Unread]) -> Batch:
    read = [item for item in items if not isinstance(item, Unread)]
    unread = [item for item in items if isinstance(item, Unread)]
    pixels = torch.from_numpy(np.stack(same_depth([crops for crops, _ in read]))) if read else None
    return Batch(pixels, [place for _, place in read], unread)


def _plain_view(box: Box) -> ViewParameters:
    """A part of a photograph, unchanged."""
    return ViewParameters(
        block=box, crop=box, flip=False, jitter=None, grayscale=False, blur_sigma=None, solarize=False
    )
