"""Choice of the renderer of a run at its start, from the measured time of each part of a step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import torch
from rich.console import Console

from manyview import distributed
from manyview.config import PretrainConfig
from manyview.fabric import Fabric
from manyview.images import ImageFiles
from manyview.images.jpeg_on_device import check_device_decoding
from manyview.images.loading import worker_count
from manyview.methods import Method, Moment
from manyview.runs import RunFolder
from manyview.runtime import core_count, local_process_count, single_thread
from manyview.training.data import Renderer, TrainingBatch, ViewDataset, ViewSample, collate, method_batch
from manyview.training.device_views import augment_groups
from manyview.training.plan import epoch_order

# Devices that share the workers' cores, where the slower device renderer gains nothing.
_SHARE_THE_CORES = ("cpu",)
_IMAGES = 16  # images on which the workers' part is measured
_REPEATS = 3


def settle_renderer(
    config: PretrainConfig,
    files: ImageFiles,
    fabric: Fabric,
    build: Callable[[PretrainConfig], Method],
    console: Console,
    *,
    resumed: RunFolder | None = None,
) -> Renderer:
    """Resolve ``training.renderer``: as set, as in the resumed run, or as measured.

    Auto is "cpu" on a CPU, so that a run is the same on any; on an accelerator it is the renderer with the shorter
    step. All processes choose the same, from the measurements of the first.

    Args:
        config: configuration with everything else settled.
        files: images of the run.
        fabric: device and processes.
        build: builds a method for the measurement, which is discarded.
        console: console for the measured times.
        resumed: folder of a resumed run.

    Raises:
        UserError: the device cannot decode JPEGs as set, or the resumed run's configuration cannot be read.
    """
    if config.data.decode == "device":
        check_device_decoding(fabric.device)
    if config.training.renderer != "auto":
        return config.training.renderer
    if config.data.decode == "device":
        return "device"
    if resumed is not None:
        renderer: Renderer = resumed.settled("training.renderer", lambda value: value in get_args(Renderer))
        return renderer
    if fabric.device.type in _SHARE_THE_CORES:
        return "cpu"
    with console.status("Measuring where views are rendered fastest"):
        costs = measure_costs(config, files, fabric, build(config))
    return _faster(costs, console)


def _faster(costs: Costs | None, console: Console) -> Renderer:
    device_is_faster = costs is not None and costs.with_device < costs.with_workers
    renderer: Renderer = distributed.from_first(lambda: "device" if device_is_faster else "cpu")
    if costs is not None:
        console.print(f"Renderer {renderer}: {costs}.", highlight=False, markup=False)
    return renderer


@dataclass(frozen=True)
class Costs:
    """Seconds for one batch of one process.

    Attributes:
        render: time of the workers to decode, crop and augment it.
        crop: time of the workers to only decode and crop it.
        augment: time of the device to augment the crops.
        step: forward and backward pass.
        images: number of images in the batch.
        workers: number of loader workers; with 0 the main process loads between the steps.
    """

    render: float
    crop: float
    augment: float
    step: float
    images: int
    workers: int

    @property
    def with_workers(self) -> float:
        """Duration of a step if the workers render, in parallel with the steps if there are any."""
        return max(self.render, self.step) if self.workers else self.render + self.step

    @property
    def with_device(self) -> float:
        """Duration of a step if the device augments what the workers crop."""
        on_device = self.step + self.augment
        return max(self.crop, on_device) if self.workers else self.crop + on_device

    def __str__(self) -> str:
        who = f"with {self.workers} workers" if self.workers else "in the main process"
        return (
            f"for {self.images:,} images, rendering takes {self.render:.3g} s and cropping {self.crop:.3g} s "
            f"{who}, the rest {self.augment:.3g} s on the device, and a step {self.step:.3g} s"
        )


def measure_costs(config: PretrainConfig, files: ImageFiles, fabric: Fabric, method: Method) -> Costs | None:
    """Measure the time of each part.

    All processes must call this together, as their steps communicate.

    Args:
        config: configuration with batch size and normalization settled.
        files: images of the run.
        fabric: device and processes.
        method: method on the device; its running statistics change.

    Returns:
        None if too few images can be read.
    """
    device, count = fabric.device, config.training.batch_size // fabric.world_size
    images = [int(image) for image in epoch_order(config.training.seed, 0, len(files))[:_IMAGES]]
    rendering, cropping = ViewDataset(files, config, renderer="cpu"), ViewDataset(files, config, renderer="device")
    render, _ = _time_worker(rendering, images)
    crop, samples = _time_worker(cropping, images)
    batch = collate([samples[index % len(samples)] for index in range(count)])
    if not batch.complete or not batch.tables:
        return None
    groups, ids = tuple(views.to(device) for views in batch.groups), batch.image_ids.to(device)
    augment = _time(device, lambda: augment_groups(groups, batch.tables, config.data.color_channels))
    step = _time_step(config, fabric, method, replace(batch, groups=groups, image_ids=ids, tables=()))
    workers = worker_count(config.data.workers)
    at_once = max(1.0, min(workers, core_count() / local_process_count()))
    return Costs(count * render / at_once, count * crop / at_once, augment, step, count, workers)


def _time_worker(dataset: ViewDataset, images: list[int]) -> tuple[float, list[ViewSample]]:
    """Seconds per image on one core, with the files in the system's cache, and the samples."""
    with single_thread():
        samples = [dataset[0, image] for image in images]
        began = time.perf_counter()
        for image in images:
            dataset[0, image]
        return (time.perf_counter() - began) / len(images), samples


def _time_step(config: PretrainConfig, fabric: Fabric, method: Method, batch: TrainingBatch) -> float:
    """Seconds for normalization, forward and backward pass."""
    method.train()

    def step() -> None:
        seen = method_batch(batch, method, config.training.seed, Moment(0, 1, 1), 0)
        with fabric.autocast():
            loss = method(seen)["loss"]
        loss.backward()
        method.zero_grad(set_to_none=True)

    return _time(batch.image_ids.device, step)


def _time(device: torch.device, work: Callable[[], object]) -> float:
    """Minimum duration of some work on a device, in seconds, without the first, which compiles kernels."""
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
