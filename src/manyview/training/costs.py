"""What the parts of a step cost on this machine, measured on the run's own photographs and network."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from manyview.config import PretrainConfig
from manyview.images import ImageFiles
from manyview.images.loader import worker_count
from manyview.runtime import core_count, single_thread
from manyview.training.loader import Sample, ViewDataset, collate
from manyview.training.loop import Training
from manyview.training.plan import epoch_order, pair_order
from manyview.views import normalize
from manyview.views.render.torch import alter_views

_PHOTOGRAPHS = 16  # on which the workers' part is measured
_REPEATS = 3


@dataclass(frozen=True)
class Costs:
    """Seconds for one batch of one process.

    Attributes:
        render: until the workers have decoded, cropped and altered it.
        crop: until they have only decoded and cropped it.
        alter: for the rest of it on the device.
        step: forward and backward on ready views.
        photographs: in the batch.
        workers: that share the work; with 0 the main process does it between the steps.
    """

    render: float
    crop: float
    alter: float
    step: float
    photographs: int
    workers: int

    @property
    def with_workers(self) -> float:
        """A step's time where the workers make the views, beside the steps if there are workers."""
        return max(self.render, self.step) if self.workers else self.render + self.step

    @property
    def with_device(self) -> float:
        """A step's time where the device alters what the workers crop."""
        on_device = self.step + self.alter
        return max(self.crop, on_device) if self.workers else self.crop + on_device

    def __str__(self) -> str:
        who = f"with {self.workers} workers" if self.workers else "in the main process"
        return (
            f"for {self.photographs:,} photographs, rendering takes {self.render:.3g} s and cropping {self.crop:.3g} s "
            f"{who}, the rest {self.alter:.3g} s on the device, and a step {self.step:.3g} s"
        )


def measure_costs(training: Training) -> Costs | None:
    """Do each part some times, and leave everything as it was but the time that has passed.

    Every process must call this at once, as the step of one takes part in those of the others.

    Returns:
        None where too few photographs can be read.
    """
    fabric, plan, files = training.fabric, training.plan, training.files
    config, device = plan.config, fabric.device
    count = config.training.batch_size // fabric.world_size
    images = [int(image) for image in epoch_order(config.training.seed, 0, len(files))[:_PHOTOGRAPHS]]
    rendering, cropping = (_dataset(files, config, renderer) for renderer in ("cpu", "device"))
    render, _ = _time_worker(rendering, images)
    crop, samples = _time_worker(cropping, images)
    batch = collate([samples[place % len(samples)] for place in range(count)])
    if not batch.complete or batch.table is None:
        return None
    views, ids, table = batch.views.to(device), batch.image_ids.to(device), batch.table
    alter = _time(device, lambda: alter_views(views.flatten(0, 1), table, config.data.colours))
    step = _time_step(training, views, ids)
    workers = worker_count(config.data.workers)
    local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", str(fabric.world_size)))
    at_once = max(1.0, min(workers, core_count() / local_processes))
    return Costs(count * render / at_once, count * crop / at_once, alter, step, count, workers)


def _dataset(files: ImageFiles, config: PretrainConfig, renderer: str) -> ViewDataset:
    training = config.training.model_copy(update={"renderer": renderer})
    return ViewDataset(files, config.model_copy(update={"training": training}))


def _time_worker(dataset: ViewDataset, images: list[int]) -> tuple[float, list[Sample]]:
    """Seconds for a photograph on one core, the files lying in the system's cache; and the photographs."""
    with single_thread():
        samples = [dataset[0, image] for image in images]
        began = time.perf_counter()
        for image in images:
            dataset[0, image]
        return (time.perf_counter() - began) / len(images), samples


def _time_step(training: Training, views: Tensor, image_ids: Tensor) -> float:
    """Seconds for normalisation, forward and backward; running statistics are put back, gradients thrown away."""
    method, fabric, config = training.method, training.fabric, training.plan.config
    pairs = len(views) * config.views.pairs * fabric.world_size
    order = torch.from_numpy(pair_order(config.training.seed, 0, 0, pairs)).to(views.device)
    kept = [buffer.clone() for buffer in method.buffers()]
    method.train()

    def step() -> None:
        ready = normalize(views, method.backbone.mean, method.backbone.std)
        with fabric.autocast():
            loss = method(ready, image_ids, order)["loss"]
        loss.backward()
        method.zero_grad(set_to_none=True)

    seconds = _time(views.device, step)
    with torch.no_grad():
        for buffer, before in zip(method.buffers(), kept, strict=True):
            buffer.copy_(before)
    return seconds


def _time(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds that some work takes on a device, at best; the first time, which prepares kernels, does not count."""
    seconds = []
    for _ in range(1 + _REPEATS):
        _synchronize(device)
        began = time.perf_counter()
        work()
        _synchronize(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
