"""What is done on the training device to make a batch's views ready: copying, decoding, cropping, altering."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from manyview.config import PretrainConfig
from manyview.images import ImageFiles
from manyview.images.jpeg_on_device import decode_jpegs
from manyview.images.loader import Loading
from manyview.training.data import TrainingBatch, ViewBatch, ViewDataset
from manyview.views.render.batch_parameters import ViewTable, join_tables
from manyview.views.render.torch import alter_views, crop_resize


class DeviceViews:
    """The loader's batches on the training device, with everything done that the workers left to it.

    On CUDA this goes on beside the step before, in a stream of its own, and the host waits for nothing but nvJPEG.
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
            tensor.record_stream(ours)  # its memory is free again only when the step is done with it
        return finished

    def close(self) -> None:
        """End the loader's processes."""
        self.batches.close()

    def _finish(self, batch: TrainingBatch) -> TrainingBatch:
        batch = self._decode(batch) if batch.encoded else batch
        groups = tuple(views.to(self.device, non_blocking=True) for views in batch.groups)
        if batch.tables:
            groups = augment_groups(groups, batch.tables, self.config.data.color_channels)
        image_ids = batch.image_ids.to(self.device, non_blocking=True)
        return replace(batch, groups=groups, image_ids=image_ids, tables=())

    def _decode(self, batch: TrainingBatch) -> TrainingBatch:
        """The batch with all images decoded, cropped and resized."""
        assert batch.files is not None, "encoded images come with their files"
        layout, count = self.config.views.layout, len(batch.image_ids)
        shapes = [(count, group.count, 3, group.size, group.size) for group in layout]
        groups = tuple(torch.zeros(shape, dtype=torch.uint8, device=self.device) for shape in shapes)
        decoded = [place for place in range(count) if place not in batch.encoded]
        for views, theirs in zip(groups, batch.groups, strict=bool(decoded)):
            for place, its_views in zip(decoded, theirs.to(self.device, non_blocking=True), strict=True):
                views[place] = its_views
        files = batch.files.split([photograph.length for photograph in batch.encoded.values()])
        headers = [photograph.header for photograph in batch.encoded.values()]
        images = decode_jpegs(files, headers, self.device)
        refused = {}
        for (place, photograph), image in zip(batch.encoded.items(), images, strict=True):
            if image is None:
                refused[place] = photograph.asked
            else:
                for views, group, crops in zip(groups, layout, photograph.crops, strict=True):
                    views[place] = crop_resize(image, crops, group.size)
        batch = replace(batch, groups=groups, encoded={}, files=None)
        return self._decode_by_host(batch, refused) if refused else batch

    def _decode_by_host(self, batch: TrainingBatch, refused: dict[int, tuple[int, int]]) -> TrainingBatch:
        """The batch with what the device's decoder refused, or stand-ins for what is damaged indeed.

        Args:
            batch: all others' views.
            refused: epoch and index of the image that was asked for, by place.
        """
        assert batch.tables, "the device is to alter what it decodes"
        tables = [list(_by_image(table, len(batch.image_ids))) for table in batch.tables]
        skipped, complete = list(batch.skipped), batch.complete
        for place, asked in refused.items():
            sample = self._host[asked]
            skipped += sample.skipped
            if isinstance(sample.groups, tuple):
                batch.image_ids[place] = sample.image
                for number, (views, table) in enumerate(zip(sample.groups, sample.tables, strict=True)):
                    batch.groups[number][place] = torch.from_numpy(views)
                    tables[number][place] = table
            else:
                complete = False
        return replace(batch, tables=tuple(map(join_tables, tables)), skipped=skipped, complete=complete)


def augment_groups(
    groups: Sequence[ViewBatch], tables: Sequence[ViewTable], rgb: tuple[int, int, int] | None
) -> tuple[ViewBatch, ...]:
    """What is done to cropped views, each group by itself; see ``alter_views``.

    Args:
        groups: (images, views, bands, size, size) each, on the device that is to do the work.
        tables: for each group a row for each view, those of one image together.
        rgb: which bands are red, green and blue, if any.
    """
    return tuple(
        alter_views(views.flatten(0, 1), table, rgb).view_as(views) for views, table in zip(groups, tables, strict=True)
    )


def _by_image(table: ViewTable, images: int) -> Iterator[ViewTable]:
    """The rows of each image in turn."""
    views = len(table) // images
    return (table[first : first + views] for first in range(0, len(table), views))
