"""From files to batches of views: what runs in the loader's processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int, UInt8, UInt16
from torch import Tensor
from torch.utils.data import Dataset

from manyview.config import PretrainConfig
from manyview.images import ImageFiles, UnreadableImage, open_photograph
from manyview.images.bands import same_depth
from manyview.images.jpeg_on_device import JpegHeader, read_jpeg
from manyview.images.loader import Loading, load_in_workers
from manyview.methods import Method, MethodBatch
from manyview.training.plan import BatchPlan, pair_order, replacements
from manyview.views import Box, ViewParameters, largest_shrink, normalize, render_views, sample_groups, shrink_crops
from manyview.views.render import crop_views
from manyview.views.render.batch_parameters import ViewTable, join_tables, view_table

Views = UInt8[np.ndarray, "_views bands _size _size"] | UInt16[np.ndarray, "_views bands _size _size"]
ViewBatch = UInt8[Tensor, "decoded _views bands _size _size"] | UInt16[Tensor, "decoded _views bands _size _size"]
Renderer = Literal["cpu", "device", "reference"]

# So many unreadable stand-ins in a row happen only where most of the images are bad.
_ATTEMPTS = 32


@dataclass(frozen=True)
class EncodedImage:
    """An image that is decoded, cropped and resized on the training device.

    Attributes:
        file: its bytes; empty in a batch, which holds them all in one.
        length: how many they are.
        header: its size and orientation.
        crops: the part that each view shows, by group.
        asked: epoch and index of the image in whose place it is shown.
    """

    file: bytes
    length: int
    header: JpegHeader
    crops: tuple[tuple[Box, ...], ...]
    asked: tuple[int, int]


@dataclass(frozen=True)
class ViewSample:
    """One image's views.

    Attributes:
        groups: for each group of views (views, bands, size, size) uint8 or uint16; or what they are made of on the
            device; or None if neither the image nor any stand-in could be read.
        tables: for each group, what the device is to do with its views; empty if nothing is left to do.
        image: index of the image that is shown.
        skipped: indices and reasons of those that could not be read.
    """

    groups: tuple[Views, ...] | EncodedImage | None
    tables: tuple[ViewTable, ...]
    image: int
    skipped: tuple[tuple[int, str], ...]


@dataclass
class TrainingBatch:
    """What one forward pass of one process sees.

    Attributes:
        groups: for each group of views (images, views, bands, size, size), uint16 where an image has 16 bits,
            else uint8; without those that are still encoded, and empty where all are.
        image_ids: (images,) int64, indices into the list of files.
        skipped: index and reason of each image that could not be read.
        complete: False where an image found no stand-in.
        tables: for each group, what the device is to do with its views: a row for each, those of one image
            together; empty if nothing is left to do.
        encoded: by its place among the images, what is still encoded.
        files: the bytes of the encoded, one after the other.
    """

    groups: tuple[ViewBatch, ...]
    image_ids: Int[Tensor, " images"]
    skipped: list[tuple[int, str]]
    complete: bool
    tables: tuple[ViewTable, ...] = ()
    encoded: dict[int, EncodedImage] = field(default_factory=dict)
    files: UInt8[Tensor, " bytes"] | None = None

    def pin_memory(self) -> TrainingBatch:
        """Called by the loader where batches are copied to an accelerator."""
        self.groups, self.image_ids = tuple(views.pin_memory() for views in self.groups), self.image_ids.pin_memory()
        return self


class ViewDataset(Dataset[ViewSample]):
    """Images as views; an item is asked for by (epoch, image index), and is a pure function of these.

    Args:
        files: the images.
        config: its data, its views and its seed.
        renderer: who makes the views: OpenCV ("cpu") or Pillow ("reference") here, or with "device" they are only
            cropped here, with a table of what is left to do.
        decode: "workers" to decode here; "device" to leave JPEGs encoded, for the device to decode and crop.
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
        stand_ins = replacements(self.seed, epoch, image, len(self.files), _ATTEMPTS)
        for candidate in (image, *map(int, stand_ins)):
            try:
                encoded = self._encoded(key, candidate) if self.decode == "device" else None
                groups, tables = encoded or self._groups(epoch, candidate)
                return ViewSample(groups, tables, candidate, tuple(skipped))
            except UnreadableImage as error:
                skipped.append((candidate, error.reason))
        return ViewSample(None, (), image, tuple(skipped))

    def _encoded(self, asked: tuple[int, int], image: int) -> tuple[EncodedImage, tuple[ViewTable, ...]] | None:
        """An image as it is to be sent to the device, if it can be decoded there."""
        jpeg = read_jpeg(self.files.path(image), max_pixels=self.data.max_pixels)
        if jpeg is None:
            return None
        file, header = jpeg
        parameters = self._parameters(header.width, header.height, asked[0], image)
        crops = tuple(tuple(view.crop for view in views) for views in parameters)
        return EncodedImage(file, len(file), header, crops, asked), tuple(map(view_table, parameters))

    def _groups(self, epoch: int, image: int) -> tuple[tuple[Views, ...], tuple[ViewTable, ...]]:
        """An image's views in an epoch, decoded no larger than they need, and what the device is left to do.

        Raises:
            UnreadableImage: it is none.
        """
        data, sizes = self.data, [group.size for group in self.layout]
        photograph = open_photograph(self.files.path(image), data.bands, max_pixels=data.max_pixels)
        width, height = photograph.width, photograph.height
        parameters = self._parameters(width, height, epoch, image)
        crops = ([view.crop for view in views] for views in parameters)
        shrink = min(map(largest_shrink, crops, sizes)) if data.bands == "rgb" else 1
        pixels = photograph.decode(shrink)
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
    """Stack the samples that have views, each group by itself."""
    readable = [sample for sample in samples if sample.groups is not None]
    decoded = [sample.groups for sample in readable if isinstance(sample.groups, tuple)]
    encoded = {place: it.groups for place, it in enumerate(readable) if isinstance(it.groups, EncodedImage)}
    files = bytearray().join(photograph.file for photograph in encoded.values())
    return TrainingBatch(
        groups=tuple(torch.from_numpy(np.stack(same_depth(views))) for views in zip(*decoded, strict=True)),
        image_ids=torch.tensor([sample.image for sample in readable], dtype=torch.int64),
        skipped=[entry for sample in samples for entry in sample.skipped],
        complete=len(readable) == len(samples),
        tables=tuple(map(join_tables, zip(*(sample.tables for sample in readable), strict=True))),
        encoded={place: replace(photograph, file=b"") for place, photograph in encoded.items()},
        files=torch.frombuffer(files, dtype=torch.uint8) if files else None,
    )


def method_batch(batch: TrainingBatch, method: Method, seed: int, step: int, part: int) -> MethodBatch:
    """What a method takes, of a batch that lies ready on the device.

    Args:
        batch: views that are neither encoded nor still to be altered.
        method: whose backbone says how its images are normalized.
        seed: the run's.
        step: optimizer steps done.
        part: which of the step's batches this is, from 0.
    """
    mean, std = method.backbone.mean, method.backbone.std
    groups = tuple(normalize(views, mean, std) for views in batch.groups)
    device = batch.image_ids.device
    return MethodBatch(groups, batch.image_ids, lambda count: _send(pair_order(seed, step, part, count), device))


def _send(numbers: np.ndarray, device: torch.device) -> Tensor:
    """Numbers on the device, without waiting for what it is at."""
    tensor = torch.from_numpy(numbers)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def start_loader(files: ImageFiles, config: PretrainConfig, batches: BatchPlan, pin: bool) -> Loading:
    """All remaining batches of a run, in order, so that workers read ahead across epochs, too; they begin at once.

    Args:
        files: the images.
        config: a settled one, whose renderer is not "auto".
        batches: which images each batch holds.
        pin: whether they go to an accelerator.
    """
    data, renderer = config.data, config.training.renderer
    assert renderer != "auto", "settle() chooses one"
    dataset = ViewDataset(files, config, renderer=renderer, decode=data.decode)
    return load_in_workers(dataset, workers=data.workers, pin=pin, batch_sampler=batches, collate_fn=collate)
