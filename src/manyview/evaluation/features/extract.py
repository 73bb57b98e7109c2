"""Extraction of feature maps and pooled features of images and of views."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float32, UInt8, UInt16
from torch import Tensor, nn

from manyview import distributed, pooling
from manyview.errors import UserError, require
from manyview.evaluation.features.backbone import FrozenBackbone
from manyview.evaluation.features.dataset import (
    CROPS,
    MIN_SIZE,
    ImageDataset,
    ImageEntry,
    fixed_views,
    images_for,
    in_batches,
    load,
    load_readable,
)
from manyview.evaluation.run_heads import HEADS
from manyview.images import ImageFiles, ImageRoot, Unreadable
from manyview.runs.progress import Progress, no_progress
from manyview.runtime import resolve_device, resolve_precision

Pooled = dict[str, Float32[Tensor, "images dim"]]
Views = UInt8[Tensor, "images views channels size size"] | UInt16[Tensor, "images views channels size size"]
FromMaps = Callable[[Float32[Tensor, "batch dim height width"]], Mapping[str, Tensor]]
"""Tensors by name, with a row for each image, from the feature maps of a batch."""

# Batch size of features in views, on which untrained norms depend.
BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class FeatureSettings:
    """Settings of feature extraction; checked when made.

    Attributes:
        pool: of the feature maps, one of ``poolings``.
        size: side of the inputs in pixels.
        workers: loader processes; None: by cores.
        device: of the backbone, as given by a user.
        precision: of the backbone, as given by a user.
        crop: of each image, one of ``CROPS``.
        batch_size: inputs at a time.
        layer: that the features are of, as for ``features.layers.at_layer``; None for the last feature map.
        poolings: names to choose from; ``pooling.ATTENTION`` is only for evaluations that train it.

    Raises:
        UserError: if a value is out of range.
    """

    pool: str
    size: int
    workers: int | None
    device: str
    precision: str
    crop: str = "warp"
    batch_size: int = 64
    layer: str | int | None = None
    poolings: tuple[str, ...] = pooling.KINDS

    def __post_init__(self) -> None:
        known = ", ".join(pooling.KINDS)
        require(
            self.pool != pooling.ATTENTION or self.pool in self.poolings,
            f"pool {self.pool} is learned with a head, which manyview linear trains (--recipe sgd): choose one of "
            f"{known}",
        )
        require(self.pool in self.poolings, f"pool must be one of {known}, not {self.pool!r}")
        require(
            self.layer not in HEADS or self.pool in (pooling.DEFAULT, "avg"),
            f"layer {self.layer} is the output of a head, which takes average-pooled features: leave out pool "
            f"{self.pool}",
        )
        require(self.size >= MIN_SIZE, f"size must be at least {MIN_SIZE} pixels, not {self.size}")
        require(self.workers is None or self.workers >= 0, f"workers must be at least 0, not {self.workers}")
        require(self.crop in CROPS, f"crop must be one of {', '.join(CROPS)}, not {self.crop!r}")
        require(self.batch_size >= 1, f"batch_size must be at least 1, not {self.batch_size}")
        resolve_device(self.device)
        resolve_precision(self.precision)


def extract(
    backbone: nn.Module,
    images: ImageRoot,
    names: Sequence[str],
    size: int = 224,
    *,
    batch_size: int = 64,
    device: str = "auto",
    precision: str = "auto",
    workers: int | None = None,
    crop: str = "warp",
    flip: bool = False,
    progress: Progress = no_progress,
    phase: str = "features",
) -> Pooled:
    """Extract the global average and maximum of a backbone's feature maps, without augmentation.

    Every image is resized to S x S (bilinear with antialiasing) and normalized as the backbone's own images were, or
    with ImageNet's mean and standard deviation if it has none. All other poolings follow from these two. The backbone
    stays on the device and in eval mode. Of several processes, each takes its share of the images, and all get all
    features.

    Args:
        backbone: normalized images (B, C, S, S) to feature maps (B, D, h, w). If it has ``rgb = False``, images must
            have ``in_channels`` bands.
        images: folder that the names are relative to.
        names: images, as names relative to the folder; at least one.
        size: S, in pixels, at least 8.
        batch_size: images at a time.
        device: "auto" (CUDA, Metal or CPU, the first there is), "cpu", "cuda", "cuda:1", "mps", ...
        precision: "float32" (which "auto" means) or "bf16" for the backbone's computation; features are float32.
        workers: loader processes; unset: by cores. The features do not depend on it.
        crop: "warp", the whole image warped to the square, or "center", the square at its center whose side is 7/8 of
            the shorter side.
        flip: whether the images are mirrored.
        progress: called after each batch with the number of images done.
        phase: the description for progress.

    Returns:
        "avg" and "max": (N, D) in main memory, in the order of ``names``.

    Raises:
        UserError: if an image cannot be read, if a feature is not finite, if device, precision, size or crop is
            invalid.
    """
    settings = FeatureSettings("gamp", size, workers, device, precision, crop, batch_size)
    return collect(backbone, images, names, settings, average_and_maximum, flip=flip, progress=progress, phase=phase)


def average_and_maximum(maps: Float32[Tensor, "batch dim height width"]) -> dict[str, Float32[Tensor, "batch dim"]]:
    """Global average ("avg") and maximum ("max") of feature maps, from which all fixed poolings follow."""
    return {kind: pooling.pool(maps, kind) for kind in ("avg", "max")}


@torch.no_grad()
def collect(
    backbone: nn.Module,
    images: ImageRoot,
    names: Sequence[str],
    settings: FeatureSettings,
    reduce: FromMaps,
    *,
    flip: bool = False,
    progress: Progress = no_progress,
    phase: str = "features",
) -> dict[str, Tensor]:
    """What a function makes of a backbone's feature maps, without augmentation, as ``extract`` describes.

    Args:
        backbone: as for ``extract``, as are images, names, flip, progress and phase.
        images: folder of the images.
        names: the images; at least one.
        settings: of the extraction; ``pool`` does not matter.
        reduce: from the maps of a batch, on the backbone's device, to tensors with a row for each image.
        flip: whether the images are mirrored.
        progress: called after each batch.
        phase: the description for progress.

    Returns:
        the tensors of ``reduce`` in main memory, a row for each image in the order of ``names``.

    Raises:
        UserError: if there are no images, an image cannot be read, or a value is not finite.
    """
    if not names:
        raise UserError("there are no images to extract features of")
    where = resolve_device(settings.device)
    frozen = FrozenBackbone(backbone, where, resolve_precision(settings.precision))
    own = distributed.share(range(len(names)))
    views = partial(fixed_views, crop=settings.crop, flip=flip)
    dataset = images_for(backbone, ImageFiles(images, names), settings.size, views)
    batches = in_batches(own, settings.batch_size)
    collected: dict[str, list[Tensor]] = {}
    done = 0
    progress(done, len(own), phase)
    for pixels in load_readable(dataset, batches, workers=settings.workers, pin=where.type == "cuda"):
        for name, values in reduce(frozen(pixels)).items():
            collected.setdefault(name, []).append(values.cpu())
        done += len(pixels)
        progress(done, len(own), phase)
    result = {name: distributed.gather_shares(torch.cat(parts), len(names)) for name, parts in collected.items()}
    for values in result.values():
        require_finite(values)
    return result


def combine(pooled: Pooled, pool: str) -> Float32[Tensor, "images pooled_dim"]:
    """Features of any pooling, (N, D) or for "cat" (N, 2D), from those of ``extract``."""
    return pooling.combine(pooled["avg"], pooled["max"], pool)


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Feature maps of a batch of images.

    Attributes:
        maps: (images, views, D, h, w), on the backbone's device.
        read: index, width and height of each image.
        unreadable: the other images of the batch.
    """

    maps: Float32[Tensor, "images views dim rows columns"]
    read: list[ImageEntry]
    unreadable: list[Unreadable]


def feature_maps(
    network: FrozenBackbone,
    images: ImageDataset,
    indices: Sequence[int],
    *,
    batch_size: int,
    workers: int | None = None,
) -> Iterator[Maps]:
    """Feature maps of views of images, in the order of ``indices``, a batch at a time.

    Args:
        network: the backbone.
        images: its inputs.
        indices: of the images.
        batch_size: images at a time, including unreadable ones.
        workers: loader processes, 0 for none; unset: by cores. The maps do not depend on it.

    Yields:
        One element a batch; without maps if none of its images is readable.

    Raises:
        UserError: the network fails on images of this size, or gives features that are not finite.
    """
    pin = network.device.type == "cuda"
    for pixels, read, unreadable in load(images, in_batches(indices, batch_size), workers=workers, pin=pin):
        if pixels is None:
            yield Maps(torch.empty(0, 0, 0, 0, 0), read, unreadable)
            continue
        maps = network(pixels.flatten(0, 1))
        require_finite(maps)
        yield Maps(maps.unflatten(0, tuple(pixels.shape[:2])), read, unreadable)


def require_finite(features: Tensor) -> None:
    """Raise a ``UserError`` unless all features are finite."""
    require(
        bool(features.isfinite().all()),
        "the backbone gives features that are not finite: its weights are damaged, or come from a run that diverged",
    )


@dataclass
class FeaturesInViews:
    """Features of views of the readable images.

    Attributes:
        by_network: (images, views, D), global averages of the feature maps.
        unreadable: the other images, with the reason.
    """

    by_network: dict[str, Float32[Tensor, "images views dim"]]
    unreadable: list[Unreadable]

    @property
    def readable(self) -> int:
        """Number of readable images."""
        return max(map(len, self.by_network.values()), default=0)


def features_in_views(
    networks: Mapping[str, nn.Module],
    images: ImageDataset,
    indices: Sequence[int],
    *,
    device: torch.device,
    precision: str = "float32",
    workers: int | None = None,
    progress: Progress = no_progress,
) -> FeaturesInViews:
    """Extract the average-pooled features of several networks from the same pixels.

    Args:
        networks: backbones by name; moved to the device, set to eval mode.
        images: their inputs.
        indices: of the images, in order.
        device: of the networks.
        precision: of the networks: "float32" or "bf16".
        workers: loader processes, 0 for none; unset: by cores. The features do not depend on it.
        progress: called after each batch.

    Raises:
        UserError: a network fails on images of this size.
    """
    frozen = {name: FrozenBackbone(network, device, precision) for name, network in networks.items()}
    parts: dict[str, list[Tensor]] = {name: [] for name in networks}
    found: list[Unreadable] = []
    done, phase = 0, "images"
    progress(done, len(indices), phase)
    batches = in_batches(indices, BATCH_SIZE)
    for pixels, read, unreadable in load(images, batches, workers=workers, pin=device.type == "cuda"):
        found += unreadable
        if pixels is not None:
            for name, network in frozen.items():
                parts[name].append(pooled_views(network, pixels))
        done += len(read) + len(unreadable)
        progress(done, len(indices), phase)
    return FeaturesInViews({name: torch.cat(batches) for name, batches in parts.items() if batches}, found)


def pooled_views(network: FrozenBackbone, pixels: Views) -> Float32[Tensor, "images views dim"]:
    """Average-pooled features, of one view of the images after the other.

    All views at once would take more memory than a training step: the end of a run needs no more than its steps.

    Args:
        network: the backbone.
        pixels: of the same views of at least one image, 8 or 16 bits.

    Returns:
        Float32 in main memory. Networks get at most ``BATCH_SIZE`` inputs at a time where there are no more images,
        and never one alone where there are two views, whose own statistics a norm could not take.

    Raises:
        UserError: the backbone fails on images of this size.
    """
    inputs = pixels.transpose(0, 1).flatten(0, 1)
    parts = inputs.chunk(-(-len(inputs) // BATCH_SIZE))
    pooled = torch.cat([pooling.pool(network(part), "avg").cpu() for part in parts])
    return pooled.unflatten(0, (pixels.shape[1], pixels.shape[0])).transpose(0, 1)
