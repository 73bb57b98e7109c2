"""Preparation of batches on the training device: copying, decoding, cropping and augmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from manyview.config import PretrainConfig
from manyview.images import ImageFiles
from manyview.images.jpeg_on_device import decode_jpegs
from manyview.images.loading import Loading
from manyview.training.data import TrainingBatch, ViewBatch, ViewDataset
from manyview.views.render.batch_parameters import ViewTable, join_tables
from manyview.views.render.torch import augment_views, crop_resize


class DeviceViews:
    """Iterator over the loader's batches, finished on the training device.

    On CUDA this runs in its own stream, in parallel with the previous step, and the host only waits for nvJPEG.
    """

    def __init__(self, batches: Loading, files: ImageFiles, config: PretrainConfig, device: torch.device) -> None:
        self.batches = batches
        self.config = config
        self.device = device
        self._host = ViewDataset(files, config, renderer="device")  # for what the device cannot decode
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __iter__(self) -> Iterator[TrainingBatch]:
        return self

    def __next__(self) -> TrainingBatch:
        batch = next(self.batches)
        if self._stream is None:
            return self._finish(batch)
        with torch.cuda.stream(self._stream):
            finished = self._finish(batch)
        ours = torch.cuda.current_stream(self.device)
        ours.wait_stream(self._stream)
        for tensor in (*finished.groups, finished.image_ids):
            tensor.record_stream(ours)  # its memory may be reused only after the step
        return finished

    def close(self) -> None:
        """Stop the loader workers."""
        self.batches.close()

    def _finish(self, batch: TrainingBatch) -> TrainingBatch:
        batch = self._decode(batch) if batch.encoded else batch
        groups = tuple(views.to(self.device, non_blocking=True) for views in batch.groups)
        if batch.tables:
            groups = augment_groups(groups, batch.tables, self.config.data.color_channels)
        image_ids = batch.image_ids.to(self.device, non_blocking=True)
        return replace(batch, groups=groups, image_ids=image_ids, tables=())

    def _decode(self, batch: TrainingBatch) -> TrainingBatch:
        """Decode, crop and resize the encoded images of a batch."""
        assert batch.files is not None, "encoded images come with their files"
        layout, count = self.config.views.layout, len(batch.image_ids)
        shapes = [(count, group.count, 3, group.size, group.size) for group in layout]
        groups = tuple(torch.zeros(shape, dtype=torch.uint8, device=self.device) for shape in shapes)
        decoded = [index for index in range(count) if index not in batch.encoded]
        for views, theirs in zip(groups, batch.groups, strict=bool(decoded)):
            for index, its_views in zip(decoded, theirs.to(self.device, non_blocking=True), strict=True):
                views[index] = its_views
        files = batch.files.split([encoded.length for encoded in batch.encoded.values()])
        headers = [encoded.header for encoded in batch.encoded.values()]
        images = decode_jpegs(files, headers, self.device)
        refused = {}
        for (index, encoded), image in zip(batch.encoded.items(), images, strict=True):
            if image is None:
                refused[index] = encoded.asked
            else:
                for views, group, crops in zip(groups, layout, encoded.crops, strict=True):
                    views[index] = crop_resize(image, crops, group.size)
        batch = replace(batch, groups=groups, encoded={}, files=None)
        return self._decode_by_host(batch, refused) if refused else batch

    def _decode_by_host(self, batch: TrainingBatch, refused: dict[int, tuple[int, int]]) -> TrainingBatch:
        """Decode on the host the images that the device could not decode, or replacements for damaged ones.

        Args:
            batch: batch with the views of all other images.
            refused: epoch and index of each requested image, by index in the batch.
        """
        assert batch.tables, "the device augments what it decodes"
        tables = [list(_by_image(table, len(batch.image_ids))) for table in batch.tables]
        skipped, complete = list(batch.skipped), batch.complete
        for index, asked in refused.items():
            sample = self._host[asked]
            skipped += sample.skipped
            if isinstance(sample.groups, tuple):
                batch.image_ids[index] = sample.image
                for number, (views, table) in enumerate(zip(sample.groups, sample.tables, strict=True)):
                    batch.groups[number][index] = torch.from_numpy(views)
                    tables[number][index] = table
            else:
                complete = False
        return replace(batch, tables=tuple(map(join_tables, tables)), skipped=skipped, complete=complete)


def augment_groups(
    groups: Sequence[ViewBatch], tables: Sequence[ViewTable], rgb: tuple[int, int, int] | None
) -> tuple[ViewBatch, ...]:
    """Augment the cropped views of each group; see ``augment_views``.

    Args:
        groups: (images, views, bands, size, size) each, on the device.
        tables: for each group one row per view, ordered by image.
        rgb: indices of the red, green and blue bands, if any.
    """
    return tuple(
        augment_views(views.flatten(0, 1), table, rgb).view_as(views)
        for views, table in zip(groups, tables, strict=True)
    )


def _by_image(table: ViewTable, images: int) -> Iterator[ViewTable]:
    """Split a table into the rows of each image."""
    views = len(table) // images
    return (table[first : first + views] for first in range(0, len(table), views))
