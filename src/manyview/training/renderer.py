"""Who makes a run's views, chosen when it starts by what each part of a step costs on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from lightning_fabric import Fabric
from rich.console import Console

from manyview import distributed
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.images import ImageFiles
from manyview.images.jpeg_on_device import check_device_decoding
from manyview.images.loader import worker_count
from manyview.methods import Method
from manyview.runs import RunFolder
from manyview.runtime import core_count, single_thread
from manyview.training.data import Renderer, TrainingBatch, ViewDataset, ViewSample, collate, method_batch
from manyview.training.device_views import augment_groups
from manyview.training.plan import epoch_order

# Here the device's work takes the workers' cores, so nothing is gained by giving it to the slower of two renderers.
_SHARE_THE_CORES = ("cpu",)
_IMAGES = 16  # on which the workers' part is measured
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
    """``training.renderer`` as asked, as the resumed run had it before, or as measured here and now.

    Auto is the workers' renderer on a CPU, so that a run is the same on any; on an accelerator it is the one with which
    a step takes less time. All processes come to the same: the first one's figures count.

    Args:
        config: with everything else settled.
        files: the run's images.
        fabric: where it computes.
        build: a method to measure a step of, thrown away afterwards.
        console: where to say what was measured.
        resumed: the folder of a run that goes on.

    Raises:
        UserError: the device is to decode JPEGs, but cannot; or the resumed run's record of its configuration.
    """
    if config.data.decode == "device":
        check_device_decoding(fabric.device)
    if config.training.renderer != "auto":
        return config.training.renderer
    if config.data.decode == "device":
        return "device"
    if resumed is not None:
        return _kept(resumed)
    if fabric.device.type in _SHARE_THE_CORES:
        return "cpu"
    with console.status("Measuring where views are made fastest"):
        costs = measure_costs(config, files, fabric, build(config))
    return _faster(costs, console)


def _kept(folder: RunFolder) -> Renderer:
    """The one that the resumed run was started with."""
    renderer = folder.read_json("config.json").get("training", {}).get("renderer")
    if renderer not in ("cpu", "device", "reference"):
        raise UserError(
            f"{folder.path / 'config.json'} does not say training.renderer, without which the run cannot go on; "
            "start a new one"
        )
    return renderer


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
        render: until the workers have decoded, cropped and altered it.
        crop: until they have only decoded and cropped it.
        augment: for the rest of it on the device.
        step: forward and backward on ready views.
        images: in the batch.
        workers: that share the work; with 0 the main process does it between the steps.
    """

    render: float
    crop: float
    augment: float
    step: float
    images: int
    workers: int

    @property
    def with_workers(self) -> float:
        """A step's time where the workers make the views, beside the steps if there are workers."""
        return max(self.render, self.step) if self.workers else self.render + self.step

    @property
    def with_device(self) -> float:
        """A step's time where the device alters what the workers crop."""
        on_device = self.step + self.augment
        return max(self.crop, on_device) if self.workers else self.crop + on_device

    def __str__(self) -> str:
        who = f"with {self.workers} workers" if self.workers else "in the main process"
        return (
            f"for {self.images:,} images, rendering takes {self.render:.3g} s and cropping {self.crop:.3g} s "
            f"{who}, the rest {self.augment:.3g} s on the device, and a step {self.step:.3g} s"
        )


def measure_costs(config: PretrainConfig, files: ImageFiles, fabric: Fabric, method: Method) -> Costs | None:
    """Do each part some times.

    Every process must call this at once, as the step of one takes part in those of the others.

    Args:
        config: with batch and normalization settled.
        files: the run's images.
        fabric: where it computes.
        method: on the device; its running statistics are another's afterwards.

    Returns:
        None where too few images can be read.
    """
    device, count = fabric.device, config.training.batch_size // fabric.world_size
    images = [int(image) for image in epoch_order(config.training.seed, 0, len(files))[:_IMAGES]]
    rendering, cropping = ViewDataset(files, config, renderer="cpu"), ViewDataset(files, config, renderer="device")
    render, _ = _time_worker(rendering, images)
    crop, samples = _time_worker(cropping, images)
    batch = collate([samples[place % len(samples)] for place in range(count)])
    if not batch.complete or not batch.tables:
        return None
    groups, ids = tuple(views.to(device) for views in batch.groups), batch.image_ids.to(device)
    augment = _time(device, lambda: augment_groups(groups, batch.tables, config.data.color_channels))
    step = _time_step(config, fabric, method, replace(batch, groups=groups, image_ids=ids, tables=()))
    workers = worker_count(config.data.workers)
    local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", str(fabric.world_size)))
    at_once = max(1.0, min(workers, core_count() / local_processes))
    return Costs(count * render / at_once, count * crop / at_once, augment, step, count, workers)


def _time_worker(dataset: ViewDataset, images: list[int]) -> tuple[float, list[ViewSample]]:
    """Seconds for an image on one core, the files lying in the system's cache; and the images."""
    with single_thread():
        samples = [dataset[0, image] for image in images]
        began = time.perf_counter()
        for image in images:
            dataset[0, image]
        return (time.perf_counter() - began) / len(images), samples


def _time_step(config: PretrainConfig, fabric: Fabric, method: Method, batch: TrainingBatch) -> float:
    """Seconds for normalization, forward and backward."""
    method.train()

    def step() -> None:
        seen = method_batch(batch, method, config.training.seed, step=0, part=0)
        with fabric.autocast():
            loss = method(seen)["loss"]
        loss.backward()
        method.zero_grad(set_to_none=True)

    return _time(batch.image_ids.device, step)


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
