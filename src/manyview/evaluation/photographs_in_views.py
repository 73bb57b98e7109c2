"""Features of photographs and of two augmented views of each, from one decoding, for what compares the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8, UInt16
from torch import Tensor, nn
from torch.utils.data import Dataset

from manyview.config import DataConfig, ViewsConfig, in_pairs
from manyview.evaluation.features.backbone import FrozenBackbone
from manyview.evaluation.features.dataset import Unreadable, fixed_view
from manyview.images import ImageFiles, UnreadableImage, open_photograph
from manyview.images.bands import same_depth
from manyview.images.loader import load_in_workers
from manyview.pooling import pool
from manyview.runs.progress import Progress, no_progress
from manyview.views import render_views, sample_view

BATCH_SIZE = 32

Views = UInt8[np.ndarray, "3 channels size size"] | UInt16[np.ndarray, "3 channels size size"]


class PhotographsInViews(Dataset[Views | Unreadable]):
    """Each photograph as a whole, warped to S x S, then as the first and the second view of one positive pair.

    Where the views have several pairs (one a block), the photographs take turns with them.

    Args:
        files: the photographs.
        data: their bands, and the most pixels one may have.
        views: how the two views are drawn; S is theirs.
        seed: of the draw; the views are those of epoch 0 of a run with it.
    """

    def __init__(self, files: ImageFiles, data: DataConfig, views: ViewsConfig, seed: int) -> None:
        self.files, self.data, self.views, self.seed = files, data, views, seed

    def __getitem__(self, index: int) -> Views | Unreadable:
        path = self.files.path(index)
        try:
            photograph = open_photograph(path, self.data.bands, max_pixels=self.data.max_pixels).decode()
        except UnreadableImage as error:
            return Unreadable(path, error.reason)
        height, width = photograph.shape[:2]
        pairs = compared_views(self.views)
        pair = [
            sample_view(self.views, width, height, seed=self.seed, epoch=0, image=index, view=view)
            for view in pairs[index % len(pairs)]
        ]
        return render_views(photograph, [fixed_view(width, height), *pair], self.views.size, rgb=self.data.colours)


def compared_views(views: ViewsConfig) -> list[tuple[int, ...]]:
    """Views that show one block, or the whole image, two by two: those of the first group."""
    pairs = [pair for pair in in_pairs(views.layout[:1]) if len(pair) == 2]
    return pairs or [(0, 1)]


@dataclass
class Features:
    """What networks make of the photographs that could be read.

    Attributes:
        by_network: (photographs, 3, D): global average of the feature maps of the whole and of each view.
        unreadable: the others, with the reason.
    """

    by_network: dict[str, Float32[Tensor, "photographs 3 dim"]]
    unreadable: list[Unreadable]

    @property
    def readable(self) -> int:
        """Photographs measured."""
        return max(map(len, self.by_network.values()), default=0)


def features_in_views(
    networks: Mapping[str, nn.Module],
    photographs: PhotographsInViews,
    indices: Sequence[int],
    *,
    device: torch.device,
    precision: str = "float32",
    workers: int | None = None,
    progress: Progress = no_progress,
) -> Features:
    """Pool several networks' feature maps of the same pixels.

    Args:
        networks: backbones by name; moved to the device, set to eval mode.
        photographs: what is shown to them.
        indices: which of the photographs, in which order.
        device: where the networks run.
        precision: of the networks: "float32" or "bf16".
        workers: loader processes, 0 for none; unset: by cores. The features do not depend on it.
        progress: called after each batch.

    Raises:
        UserError: a network fails on images of this size.
    """
    frozen = {name: FrozenBackbone(network, device, precision) for name, network in networks.items()}
    parts: dict[str, list[Tensor]] = {name: [] for name in networks}
    unreadable: list[Unreadable] = []
    done, phase = 0, "photographs"
    progress(done, len(indices), phase)
    pin = device.type == "cuda"
    loaded = load_in_workers(
        photographs, workers=workers, pin=pin, batch_size=BATCH_SIZE, sampler=indices, collate_fn=_collate
    )
    for pixels, skipped in loaded:
        unreadable += skipped
        if pixels is not None:
            for name, network in frozen.items():
                pooled = pool(network(pixels.flatten(0, 1)), "avg").cpu()
                parts[name].append(pooled.unflatten(0, (len(pixels), 3)))
        done += len(skipped) + (len(pixels) if pixels is not None else 0)
        progress(done, len(indices), phase)
    return Features({name: torch.cat(batches) for name, batches in parts.items() if batches}, unreadable)


def _collate(items: list[Views | Unreadable]) -> tuple[Tensor | None, list[Unreadable]]:
    """Pixels (photographs, 3, channels, S, S), if any can be read, and those that cannot."""
    readable = same_depth([item for item in items if not isinstance(item, Unreadable)])
    unreadable = [item for item in items if isinstance(item, Unreadable)]
    return torch.from_numpy(np.stack(readable)) if readable else None, unreadable
