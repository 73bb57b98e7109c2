"""Norm statistics of a network without trained ones, measured on the images of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch

from manyview import distributed
from manyview.backbones import Backbone
from manyview.backbones.norm_statistics import Statistics, measure_norms
from manyview.errors import UserError
from manyview.evaluation.features.backbone import normalization
from manyview.evaluation.features.dataset import fixed_views, images_for, load_readable
from manyview.evaluation.features.extract import FeatureSettings
from manyview.images import ImageFiles, ImageRoot
from manyview.runs.progress import Progress, no_progress
from manyview.runtime import resolve_device, resolve_precision
from manyview.views import normalize_channels_last

BATCH_SIZE = 64
MOST_BATCHES = 200  # 12,800 images; of a larger set, more would change little


def whole_batches(images: int, seed: int) -> list[list[int]]:
    """Indices of images in shuffled whole batches of 64, at most 200; of fewer images, all in one batch.

    Shuffled, as a list may be in order of the classes, and a norm's input depends on the batch.
    """
    order: list[int] = np.random.default_rng(seed).permutation(images).tolist()
    size = min(BATCH_SIZE, images)
    return [order[start : start + size] for start in range(0, images - size + 1, size)][:MOST_BATCHES]


def measure_on_images(
    network: Backbone,
    images: ImageRoot,
    names: Sequence[str],
    settings: FeatureSettings,
    seed: int,
    *,
    progress: Progress = no_progress,
    phase: str = "statistics of the norms",
) -> Statistics:
    """``measure_norms`` on images as the evaluation sees them: its size, crop, precision and device; no augmentation.

    Of several processes, each takes its share of the batches. The network stays on the device.

    Args:
        network: normalized images (B, C, S, S) to feature maps; not modified.
        images: folder that the names are relative to.
        names: images; at least one.
        settings: of the evaluation; its ``batch_size`` does not matter.
        seed: of the batches.
        progress: called after each batch with this process's images done.
        phase: the description for progress.

    Raises:
        UserError: an image cannot be read, or there are too few for statistics.
    """
    device, precision = resolve_device(settings.device), resolve_precision(settings.precision)
    views = partial(fixed_views, crop=settings.crop)
    dataset = images_for(network, ImageFiles(images, names), settings.size, views)
    own = whole_batches(len(names), seed)[distributed.rank() :: distributed.world_size()]
    mean, std = normalization(network)

    def inputs() -> Iterator[tuple[torch.Tensor]]:
        batches = [[(0, index) for index in batch] for batch in own]
        total, done = sum(map(len, own)), 0
        progress(done, total, phase)
        for pixels in load_readable(dataset, batches, workers=settings.workers, pin=device.type == "cuda"):
            yield (normalize_channels_last(pixels.to(device, non_blocking=True), mean, std),)
            done += len(pixels)
            progress(done, total, phase)

    network.to(device).eval()
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        try:
            return measure_norms(network, inputs())
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"the norms of {network.name} need more than {len(names)} training images of {settings.size} pixels "
                "for their statistics: --untrained-norms zero-one does without"
            ) from error
