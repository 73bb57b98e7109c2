"""Photographs as batches of S x S pixels, decoded in loader processes, for networks that are not trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int, UInt8, UInt16
from torch import Tensor
from torch.utils.data import Dataset

from manyview.config import WholeViewsConfig
from manyview.errors import UserError
from manyview.images import UnreadableImage, open_photograph
from manyview.images.bands import same_depth
from manyview.images.loader import load_in_workers
from manyview.views import ViewParameters, render_views, sample_view

Place = tuple[int, int]
"""Epoch and index of a photograph."""

View = UInt8[np.ndarray, "channels size size"] | UInt16[np.ndarray, "channels size size"]
Pixels = UInt8[Tensor, "batch channels size size"] | UInt16[Tensor, "batch channels size size"]

Batch = tuple[Pixels, Int[Tensor, " batch"]]
"""Pixels of some photographs, and the photographs' indices."""

MIN_SIZE = 8

CROPS = ("warp", "center")
"""What becomes of a photograph that is not cropped at random: warped to the square, or the centre of it cut out."""
_CENTRE = 0.875


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What stands in for a batch with a photograph that cannot be read."""

    path: Path
    reason: str


def random_crops(size: int) -> WholeViewsConfig:
    """The training augmentation of linear evaluation: a crop of 8 to 100 % of the photograph, mirrored or not."""
    return WholeViewsConfig(
        size=size, scale=(0.08, 1.0), flip=0.5, jitter=0.0, grayscale=0.0, blur=(0.0, 0.0), solarize=(0.0, 0.0)
    )


class Photographs(Dataset[tuple[View, int] | Unreadable]):
    """Named photographs of a folder, as S x S pixels.

    Args:
        images: folder that the names are relative to.
        names: relative names.
        size: S, in pixels.
        crops: random crop and flip, drawn from (seed, epoch, index) alone; without it the photograph is seen as
            ``crop`` says.
        seed: seed of the crops.
        bands: "rgb", or the number of bands that each has.
        crop: "warp", the whole photograph warped to the square, or "center", the square at its centre whose side is
            7/8 of the shorter side (224 of 256 pixels), resized.
        flip: whether it is mirrored, where it is not cropped at random.
    """

    def __init__(
        self,
        images: Path,
        names: Sequence[str],
        size: int,
        crops: WholeViewsConfig | None = None,
        seed: int = 0,
        bands: Literal["rgb"] | int = "rgb",
        crop: str = "warp",
        flip: bool = False,
    ) -> None:
        self.images, self.names, self.size, self.crops, self.seed, self.bands = images, names, size, crops, seed, bands
        self.crop, self.flip = crop, flip

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, place: Place) -> tuple[View, int] | Unreadable:
        epoch, index = place
        path = self.images / self.names[index]
        try:
            photograph = open_photograph(path, self.bands).decode()
        except UnreadableImage as error:
            # Returned, not raised: a loader process would wrap the message in its traceback.
            return Unreadable(path, error.reason)
        height, width = photograph.shape[:2]
        if self.crops is None:
            view = fixed_view(width, height, self.crop, self.flip)
        else:
            view = sample_view(self.crops, width, height, seed=self.seed, epoch=epoch, image=index, view=0)
        return render_views(photograph, [view], self.size, rgb=(0, 1, 2) if self.bands == "rgb" else None)[0], index


def load(
    photographs: Photographs, places: Iterable[Sequence[Place]], *, workers: int | None, pin: bool = False
) -> Iterator[Batch]:
    """Batches of photographs, in the order of ``places``, whatever the number of workers.

    Args:
        photographs: what to load.
        places: the places of each batch.
        workers: loader processes, 0 for none; unset: by cores.
        pin: whether the pixels lie in page-locked memory, from which an accelerator copies faster.

    Yields:
        One batch for each element of ``places``.

    Raises:
        UserError: at the first photograph that cannot be read, with its path and the reason.
    """
    for batch in load_in_workers(photographs, workers=workers, pin=pin, batch_sampler=places, collate_fn=_collate):
        if isinstance(batch, Unreadable):
            raise UserError(
                f"cannot read {batch.path} ({batch.reason}): the figures are for exactly the photographs of the label "
                "files, so mend this file or take it out of the label file"
            )
        yield batch


def _collate(items: list[tuple[View, int] | Unreadable]) -> Batch | Unreadable:
    """Stack the items, or pass on the first that could not be read."""
    pixels, indices = [], []
    for item in items:
        if isinstance(item, Unreadable):
            return item
        pixels.append(item[0])
        indices.append(item[1])
    return torch.from_numpy(np.stack(same_depth(pixels))), torch.tensor(indices)


def fixed_view(width: int, height: int, crop: str = "warp", flip: bool = False) -> ViewParameters:
    """A view that nothing random decides, with unchanged colours.

    Args:
        width: of the photograph, in pixels.
        height: likewise.
        crop: "warp" for the whole photograph, or "center" for the square at its centre.
        flip: whether it is mirrored.
    """
    box = (0, 0, width, height)
    side = max(1, round(_CENTRE * min(width, height)))
    left, top = (width - side) // 2, (height - side) // 2
    return ViewParameters(
        block=box,
        crop=(left, top, left + side, top + side) if crop == "center" else box,
        flip=flip,
        jitter=None,
        grayscale=False,
        blur_sigma=None,
        solarize=False,
    )
