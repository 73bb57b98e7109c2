"""Data loading: dataset of augmented views, and collation of batches, which run in the loader workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int, UInt8, UInt16
from torch import Tensor
from torch.utils.data import Dataset

from manyview.config import PretrainConfig
from manyview.images import ImageFiles, UnreadableImage, open_image
from manyview.images.bands import same_depth
from manyview.images.jpeg_on_device import JpegHeader, read_jpeg
from manyview.images.loading import Loading, load_in_workers
from manyview.methods import Method, MethodBatch, Moment
from manyview.training.plan import BatchPlan, pair_order, replacements
from manyview.views import Box, ViewParameters, largest_shrink, normalize, render_views, sample_groups, shrink_crops
from manyview.views.render import crop_views
from manyview.views.render.batch_parameters import ViewTable, join_tables, view_table

Views = UInt8[np.ndarray, "_views bands _size _size"] | UInt16[np.ndarray, "_views bands _size _size"]
ViewBatch = UInt8[Tensor, "decoded _views bands _size _size"] | UInt16[Tensor, "decoded _views bands _size _size"]
Renderer = Literal["cpu", "device", "reference"]

# Replacements tried for an unreadable image; all fail only if most images are unreadable.
_ATTEMPTS = 32


@dataclass(frozen=True)
class EncodedSample:
    """An image that is decoded, cropped and resized on the training device.

    Attributes:
        file: bytes of the JPEG; empty in a batch, which holds those of all its images.
        length: number of bytes.
        header: size and orientation.
        crops: crop box of each view, by group.
        asked: epoch and index of the image that was requested, which it may replace.
    """

    file: bytes
    length: int
    header: JpegHeader
    crops: tuple[tuple[Box, ...], ...]
    asked: tuple[int, int]


@dataclass(frozen=True)
class ViewSample:
    """Views of one image.

    Attributes:
        groups: for each group of views (views, bands, size, size) uint8 or uint16; or an encoded image, to be decoded
            on the device; or None if neither the image nor any replacement could be read.
        tables: for each group, the augmentations left to the device; empty if there are none.
        image: index of the image.
        skipped: indices and reasons of unreadable images.
    """

    groups: tuple[Views, ...] | EncodedSample | None
    tables: tuple[ViewTable, ...]
    image: int
    skipped: tuple[tuple[int, str], ...]


@dataclass
class TrainingBatch:
    """Batch for one forward pass of one process.

    Attributes:
        groups: for each group of views (images, views, bands, size, size), uint16 if an image has 16 bits, else
            uint8; without the images that are still encoded, and empty if all are.
        image_ids: (images,) int64, indices into the list of files.
        skipped: index and reason of each unreadable image.
        complete: False if no replacement was found for an image.
        tables: for each group, the augmentations left to the device: one row per view, ordered by image; empty if
            there are none.
        encoded: images that are still encoded, by index in the batch.
        files: concatenated bytes of the encoded images.
    """

    groups: tuple[ViewBatch, ...]
    image_ids: Int[Tensor, " images"]
    skipped: list[tuple[int, str]]
    complete: bool
    tables: tuple[ViewTable, ...] = ()
    encoded: dict[int, EncodedSample] = field(default_factory=dict)
    files: UInt8[Tensor, " bytes"] | None = None

    def pin_memory(self) -> TrainingBatch:
        """Called by the loader if batches are copied to an accelerator."""
        self.groups, self.image_ids = tuple(views.pin_memory() for views in self.groups), self.image_ids.pin_memory()
        return self


class ViewDataset(Dataset[ViewSample]):
    """Dataset of augmented views; an item is a pure function of its key (epoch, image index).

    Args:
        files: the images.
        config: configuration, of which data, views and seed are used.
        renderer: "cpu" renders with the compiled kernel or OpenCV and "reference" with Pillow; "device" only crops, and
            adds a table of the augmentations left to the device.
        decode: "workers" decodes here; "device" leaves JPEGs encoded, for the device to decode and crop.
    """

    def __init__(
        self,
        files: ImageFiles,
        config: PretrainConfig,
        *,
        renderer: Renderer,
        decode: Literal["workers", "device"] = "workers",
    ) -> None:
        assert decode == "workers" or renderer == "device", "what is not decoded here cannot be rendered here"
        self.files = files
        self.data = config.data
        self.layout = config.views.layout
        self.seed = config.training.seed
        self.renderer = renderer
        self.decode = decode

    def __getitem__(self, key: tuple[int, int]) -> ViewSample:
        epoch, image = key
        skipped: list[tuple[int, str]] = []
        for candidate in self._candidates(epoch, image):
            try:
                encoded = self._encoded(key, candidate) if self.decode == "device" else None
                groups, tables = encoded or self._groups(epoch, candidate)
                return ViewSample(groups, tables, candidate, tuple(skipped))
            except UnreadableImage as error:
                skipped.append((candidate, error.reason))
        return ViewSample(None, (), image, tuple(skipped))

    def _candidates(self, epoch: int, image: int) -> Iterator[int]:
        """The image, and those that may stand for it, which are drawn only if it cannot be read."""
        yield image
        yield from map(int, replacements(self.seed, epoch, image, len(self.files), _ATTEMPTS))

    def _encoded(self, asked: tuple[int, int], image: int) -> tuple[EncodedSample, tuple[ViewTable, ...]] | None:
        """The encoded image, if the device can decode it."""
        jpeg = read_jpeg(self.files.path(image), max_pixels=self.data.max_pixels)
        if jpeg is None:
            return None
        file, header = jpeg
        parameters = self._parameters(header.width, header.height, asked[0], image)
        crops = tuple(tuple(view.crop for view in views) for views in parameters)
        return EncodedSample(file, len(file), header, crops, asked), tuple(map(view_table, parameters))

    def _groups(self, epoch: int, image: int) -> tuple[tuple[Views, ...], tuple[ViewTable, ...]]:
        """Views of an image in an epoch, decoded no larger than needed, and the augmentations left to the device.

        Raises:
            UnreadableImage: the file cannot be decoded.
        """
        data, sizes = self.data, [group.size for group in self.layout]
        opened = open_image(self.files.path(image), data.bands, max_pixels=data.max_pixels, bit_depth=data.bit_depth)
        width, height = opened.width, opened.height
        parameters = self._parameters(width, height, epoch, image)
        crops = ([view.crop for view in views] for views in parameters)
        shrink = min(map(largest_shrink, crops, sizes)) if data.bands == "rgb" else 1
        pixels = opened.decode(shrink)
        decoded = pixels.shape[1], pixels.shape[0]
        parameters = tuple(shrink_crops(views, shrink, decoded) for views in parameters)
        if self.renderer == "device":
            cropped = tuple(crop_views(pixels, views, size) for views, size in zip(parameters, sizes, strict=True))
            return cropped, tuple(map(view_table, parameters))
        render = partial(render_views, pixels, renderer=self.renderer, rgb=data.color_channels)
        return tuple(map(render, parameters, sizes)), ()

    def _parameters(self, width: int, height: int, epoch: int, image: int) -> tuple[tuple[ViewParameters, ...], ...]:
        return sample_groups(self.layout, width, height, seed=self.seed, epoch=epoch, image=image)


def collate(samples: Sequence[ViewSample]) -> TrainingBatch:
    """Stack the views of readable samples, by group."""
    readable = [sample for sample in samples if sample.groups is not None]
    decoded = [sample.groups for sample in readable if isinstance(sample.groups, tuple)]
    encoded = {index: it.groups for index, it in enumerate(readable) if isinstance(it.groups, EncodedSample)}
    files = bytearray().join(image.file for image in encoded.values())
    return TrainingBatch(
        groups=tuple(torch.from_numpy(np.stack(same_depth(views))) for views in zip(*decoded, strict=True)),
        image_ids=torch.tensor([sample.image for sample in readable], dtype=torch.int64),
        skipped=[entry for sample in samples for entry in sample.skipped],
        complete=len(readable) == len(samples),
        tables=tuple(map(join_tables, zip(*(sample.tables for sample in readable), strict=True))),
        encoded={index: replace(image, file=b"") for index, image in encoded.items()},
        files=torch.frombuffer(files, dtype=torch.uint8) if files else None,
    )


def method_batch(batch: TrainingBatch, method: Method, seed: int, moment: Moment, part: int) -> MethodBatch:
    """Convert a finished batch on the device to a method's input, with normalized views.

    Args:
        batch: decoded and augmented views.
        method: method, whose backbone holds mean and standard deviation.
        seed: seed of the run.
        moment: how far the run is.
        part: index of the batch within the step, from 0.
    """
    mean, std = method.backbone.mean, method.backbone.std
    groups = tuple(normalize(views, mean, std) for views in batch.groups)
    device = batch.image_ids.device
    return MethodBatch(
        groups,
        batch.image_ids,
        lambda count: _send(pair_order(seed, moment.step, part, count), device),
        moment,
    )


def _send(numbers: np.ndarray, device: torch.device) -> Tensor:
    """Copy numbers to the device without synchronizing."""
    tensor = torch.from_numpy(numbers)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def start_loader(files: ImageFiles, config: PretrainConfig, batches: BatchPlan, pin: bool) -> Loading:
    """Start loading all remaining batches of a run, in order; workers also read ahead across epochs.

    Args:
        files: the images.
        config: settled configuration, whose renderer is not "auto".
        batches: image indices of each batch.
        pin: whether to pin memory, for an accelerator.
    """
    data, renderer = config.data, config.training.renderer
    assert renderer != "auto", "settle() chooses one"
    dataset = ViewDataset(files, config, renderer=renderer, decode=data.decode)
    return load_in_workers(
        dataset, batches, workers=data.workers, pin=pin, collate=collate, name=lambda key: str(files.path(key[1]))
    )
