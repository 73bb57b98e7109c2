"""From files to batches of views: what runs in the loader's processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from manyview.views import Box, ViewParameters, largest_shrink, normalize, render_views, sample_views, shrink_crops
from manyview.views.render import crop_views
from manyview.views.render.batch_parameters import ViewTable, join_tables, view_table

Views = UInt8[np.ndarray, "views bands size size"] | UInt16[np.ndarray, "views bands size size"]
ViewBatch = UInt8[Tensor, "decoded views bands size size"] | UInt16[Tensor, "decoded views bands size size"]
Renderer = Literal["cpu", "device", "reference"]

# So many unreadable stand-ins in a row happen only where most of the photographs are bad.
_ATTEMPTS = 32


@dataclass(frozen=True)
class EncodedPhotograph:
    """A photograph that is decoded, cropped and resized on the training device.

    Attributes:
        file: its bytes; empty in a batch, which holds them all in one.
        length: how many they are.
        header: its size and orientation.
        crops: the part that each view shows.
        asked: epoch and index of the photograph in whose place it is shown.
    """

    file: bytes
    length: int
    header: JpegHeader
    crops: tuple[Box, ...]
    asked: tuple[int, int]


@dataclass(frozen=True)
class Sample:
    """One photograph's views.

    Attributes:
        views: (views, bands, size, size) uint8 or uint16, or what they are made of on the device, or None if neither
            the photograph nor any stand-in could be read.
        table: what the device is to do with the views, if anything.
        image: index of the photograph that is shown.
        skipped: indices and reasons of those that could not be read.
    """

    views: Views | EncodedPhotograph | None
    table: ViewTable | None
    image: int
    skipped: tuple[tuple[int, str], ...]


@dataclass
class Batch:
    """What one forward pass of one process sees.

    Attributes:
        views: (photographs, views, bands, size, size), uint16 where a photograph has 16 bits, else uint8; without those
            that are still encoded.
        image_ids: (photographs,) int64, indices into the list of files.
        skipped: index and reason of each photograph that could not be read.
        complete: False where a photograph found no stand-in.
        table: what the device is to do with the views, if anything: a row for each, those of one photograph together.
        encoded: by its place among the photographs, what is still encoded.
        files: the bytes of the encoded, one after the other.
    """

    views: ViewBatch
    image_ids: Int[Tensor, " photographs"]
    skipped: list[tuple[int, str]]
    complete: bool
    table: ViewTable | None = None
    encoded: dict[int, EncodedPhotograph] = field(default_factory=dict)
    files: UInt8[Tensor, " bytes"] | None = None

    def pin_memory(self) -> Batch:
        """Called by the loader where batches are copied to an accelerator."""
        self.views, self.image_ids = self.views.pin_memory(), self.image_ids.pin_memory()
        return self


class ViewDataset(Dataset[Sample]):
    """Photographs as views; an item is asked for by (epoch, image index), and is a pure function of these.

    Args:
        files: the photographs.
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
        self.views = config.views
        self.seed = config.training.seed
        self.renderer = renderer
        self.decode = decode

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, image = key
        skipped: list[tuple[int, str]] = []
        stand_ins = replacements(self.seed, epoch, image, len(self.files), _ATTEMPTS)
        for candidate in (image, *map(int, stand_ins)):
            try:
                encoded = self._encoded(key, candidate) if self.decode == "device" else None
                views, table = encoded or self._views(epoch, candidate)
                return Sample(views, table, candidate, tuple(skipped))
            except UnreadableImage as error:
                skipped.append((candidate, error.reason))
        return Sample(None, None, image, tuple(skipped))

    def _encoded(self, asked: tuple[int, int], image: int) -> tuple[EncodedPhotograph, ViewTable] | None:
        """A photograph as it is to be sent to the device, if it can be decoded there."""
        jpeg = read_jpeg(self.files.path(image), max_pixels=self.data.max_pixels)
        if jpeg is None:
            return None
        file, header = jpeg
        parameters = self._parameters(header.width, header.height, asked[0], image)
        crops = tuple(view.crop for view in parameters)
        return EncodedPhotograph(file, len(file), header, crops, asked), view_table(parameters)

    def _views(self, epoch: int, image: int) -> tuple[Views, ViewTable | None]:
        """A photograph's views in an epoch, decoded no larger than they need, and what the device is left to do.

        Raises:
            UnreadableImage: it is none.
        """
        data, size = self.data, self.views.size
        photograph = open_photograph(self.files.path(image), data.bands, max_pixels=data.max_pixels)
        width, height = photograph.width, photograph.height
        parameters = self._parameters(width, height, epoch, image)
        shrink = largest_shrink((view.crop for view in parameters), size) if data.bands == "rgb" else 1
        pixels = photograph.decode(shrink)
        parameters = shrink_crops(parameters, shrink, (pixels.shape[1], pixels.shape[0]))
        if self.renderer == "device":
            return crop_views(pixels, parameters, size), view_table(parameters)
        return render_views(pixels, parameters, size, renderer=self.renderer, rgb=data.colours), None

    def _parameters(self, width: int, height: int, epoch: int, image: int) -> tuple[ViewParameters, ...]:
        return sample_views(self.views, width, height, seed=self.seed, epoch=epoch, image=image)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack the samples that have views."""
    readable = [sample for sample in samples if sample.views is not None]
    views = same_depth([sample.views for sample in readable if isinstance(sample.views, np.ndarray)])
    tables = [sample.table for sample in readable if sample.table is not None]
    encoded = {place: it.views for place, it in enumerate(readable) if isinstance(it.views, EncodedPhotograph)}
    files = bytearray().join(photograph.file for photograph in encoded.values())
    return Batch(
        views=torch.from_numpy(np.stack(views)) if views else torch.empty((0, 0, 3, 0, 0), dtype=torch.uint8),
        image_ids=torch.tensor([sample.image for sample in readable], dtype=torch.int64),
        skipped=[entry for sample in samples for entry in sample.skipped],
        complete=len(readable) == len(samples),
        table=join_tables(tables) if tables else None,
        encoded={place: replace(photograph, file=b"") for place, photograph in encoded.items()},
        files=torch.frombuffer(files, dtype=torch.uint8) if files else None,
    )


def method_batch(batch: Batch, method: Method, seed: int, step: int, part: int) -> MethodBatch:
    """What a method takes, of a batch that lies ready on the device.

    Args:
        batch: views that are neither encoded nor still to be altered.
        method: whose backbone says how its images are normalized.
        seed: the run's.
        step: optimizer steps done.
        part: which of the step's batches this is, from 0.
    """
    views = normalize(batch.views, method.backbone.mean, method.backbone.std)
    device = batch.image_ids.device
    return MethodBatch((views,), batch.image_ids, lambda count: _send(pair_order(seed, step, part, count), device))


def _send(numbers: np.ndarray, device: torch.device) -> Tensor:
    """Numbers on the device, without waiting for what it is at."""
    tensor = torch.from_numpy(numbers)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def start_loader(files: ImageFiles, config: PretrainConfig, batches: BatchPlan, pin: bool) -> Loading:
    """All remaining batches of a run, in order, so that workers read ahead across epochs, too; they begin at once.

    Args:
        files: the photographs.
        config: a settled one, whose renderer is not "auto".
        batches: which photographs each batch holds.
        pin: whether they go to an accelerator.
    """
    data, renderer = config.data, config.training.renderer
    assert renderer != "auto", "settle() chooses one"
    dataset = ViewDataset(files, config, renderer=renderer, decode=data.decode)
    return load_in_workers(dataset, workers=data.workers, pin=pin, batch_sampler=batches, collate_fn=collate)
