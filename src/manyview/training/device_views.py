"""What is done on the training device to make a batch's views ready: copying, decoding, cropping, altering."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from manyview.config import PretrainConfig
from manyview.images import ImageFiles
from manyview.images.jpeg_on_device import decode_jpegs
from manyview.images.loader import Loading
from manyview.training.loader import Batch, ViewDataset
from manyview.views import views_per_image
from manyview.views.render.batch_parameters import join_tables
from manyview.views.render.torch import alter_views, crop_resize


class DeviceViews:
    """The loader's batches on the training device, with everything done that the workers left to it.

    On CUDA this goes on beside the step before, in a stream of its own, and the host waits for nothing but nvJPEG.
    """

    def __init__(self, batches: Loading, files: ImageFiles, config: PretrainConfig, device: torch.device) -> None:
        self.batches = batches
        self.config = config
        self.device = device
        by_the_host = config.data.model_copy(update={"decode": "workers"})
        by_the_device = config.training.model_copy(update={"renderer": "device"})
        self._host = ViewDataset(files, config.model_copy(update={"data": by_the_host, "training": by_the_device}))
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = next(self.batches)
        if self._stream is None:
            return self._finish(batch)
        with torch.cuda.stream(self._stream):
            finished = self._finish(batch)
        ours = torch.cuda.current_stream(self.device)
        ours.wait_stream(self._stream)
        for tensor in (finished.views, finished.image_ids):
            tensor.record_stream(ours)  # its memory is free again only when the step is done with it
        return finished

    def close(self) -> None:
        """End the loader's processes."""
        self.batches.close()

    def _finish(self, batch: Batch) -> Batch:
        batch = self._decode(batch) if batch.encoded else batch
        views = batch.views.to(self.device, non_blocking=True)
        if batch.table is not None:
            views = alter_views(views.flatten(0, 1), batch.table, self.config.data.colours).view_as(views)
        return replace(batch, views=views, image_ids=batch.image_ids.to(self.device, non_blocking=True), table=None)

    def _decode(self, batch: Batch) -> Batch:
        """The batch with all photographs decoded, cropped and resized."""
        assert batch.files is not None, "encoded photographs come with their files"
        size, count = self.config.views.size, len(batch.image_ids)
        shape = (count, views_per_image(self.config.views), 3, size, size)
        views = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        decoded = [place for place in range(count) if place not in batch.encoded]
        for place, its_views in zip(decoded, batch.views.to(self.device, non_blocking=True), strict=True):
            views[place] = its_views
        files = batch.files.split([photograph.length for photograph in batch.encoded.values()])
        headers = [photograph.header for photograph in batch.encoded.values()]
        images = decode_jpegs(files, headers, self.device)
        refused = {}
        for (place, photograph), image in zip(batch.encoded.items(), images, strict=True):
            if image is None:
                refused[place] = photograph.asked
            else:
                views[place] = crop_resize(image, photograph.crops, size)
        batch = replace(batch, views=views, encoded={}, files=None)
        return self._decode_by_host(batch, refused) if refused else batch

    def _decode_by_host(self, batch: Batch, refused: dict[int, tuple[int, int]]) -> Batch:
        """The batch with what the device's decoder refused, or stand-ins for what is damaged indeed.

        Args:
            batch: all others' views.
            refused: epoch and index of the photograph that was asked for, by place.
        """
        assert batch.table is not None, "the device is to alter what it decodes"
        views = batch.views.shape[1]
        tables = [batch.table[first : first + views] for first in range(0, len(batch.table), views)]
        skipped, complete = list(batch.skipped), batch.complete
        for place, asked in refused.items():
            sample = self._host[asked]
            skipped += sample.skipped
            if isinstance(sample.views, np.ndarray) and sample.table is not None:
                batch.views[place] = torch.from_numpy(sample.views)
                batch.image_ids[place] = sample.image
                tables[place] = sample.table
            else:
                complete = False
        return replace(batch, table=join_tables(tables), skipped=skipped, complete=complete)
