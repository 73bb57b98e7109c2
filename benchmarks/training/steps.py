"""Single steps of the training loop, for timing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from manyview.config import PretrainConfig, resolve
from manyview.config.resolve import Assignment
from manyview.images import find_images
from manyview.images.loading import Loading
from manyview.recipes import recipe_settings
from manyview.runs import RunFolder
from manyview.runs.progress import run_console
from manyview.training.data import TrainingBatch, start_loader
from manyview.training.device_views import DeviceViews
from manyview.training.initial.network import build_backbone_of, build_method, build_trial
from manyview.training.loop import Training, train_step
from manyview.training.plan import BatchPlan
from manyview.training.run import set_up
from manyview.training.settle import settle, start_hardware

EPOCHS = 1_000_000  # more than any benchmark reaches


@dataclass
class Steps:
    """A run whose steps are called by a benchmark.

    Attributes:
        batches: of the run, ready on the device.
        loaded: the batches as the loader's processes return them.
    """

    training: Training
    module: Any
    optimizer: Any
    batches: Iterator[TrainingBatch]
    loaded: Loading

    @property
    def device(self) -> torch.device:
        return self.training.fabric.device

    @property
    def processes(self) -> list[int]:
        """Identifiers of the loader's processes."""
        return self.loaded.processes

    def run(self, batches: Iterator[TrainingBatch], count: int) -> tuple[float, float]:
        """Seconds for ``count`` steps, and the part of them spent waiting for batches."""
        self.synchronize()
        began, waited = time.perf_counter(), 0.0
        for _ in range(count):
            waited += train_step(self.training, self.module, self.optimizer, batches)[2]
            self.training.step += 1
        self.synchronize()
        return time.perf_counter() - began, waited

    def synchronize(self) -> None:
        """Wait for the accelerator, if there is one."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def configure(images: Path, settings: Mapping[str, Any], recipe: str = "paper") -> PretrainConfig:
    """A recipe with changed settings, a low learning rate, and a fixed renderer."""
    fixed = {"data.images": str(images), "training.epochs": EPOCHS, "training.base_learning_rate": 1e-4}
    if settings.get("data.decode") != "device":
        fixed["training.renderer"] = "cpu"
    assignments = [Assignment(key, value, "benchmark") for key, value in {**fixed, **settings}.items()]
    return resolve(recipe_settings(recipe), assignments)


@contextlib.contextmanager
def started(config: PretrainConfig, folder: Path) -> Iterator[Steps]:
    """Set up a run with its loader, ready for its first step; on exit the loader is stopped."""
    files = find_images(Path(config.data.images))
    hardware, console = start_hardware(config), run_console(enabled=False)
    trial = partial(build_trial, module=None, hardware=hardware)
    settled = settle(config, files, None, hardware, build=trial, console=console)
    config, plan, fabric = settled.config, settled.plan, hardware.fabric
    method = build_method(build_backbone_of(config), config, hardware)
    run = RunFolder(folder)
    run.path.mkdir(parents=True, exist_ok=True)
    training = set_up(settled, files, run, method, console)
    training.method.train()
    module, optimizer = fabric.setup(training.method, training.optimizer)
    loaded = start_loader(files, config, BatchPlan(plan), pin=fabric.device.type == "cuda")
    batches = DeviceViews(loaded, files, config, fabric.device)
    try:
        yield Steps(training, module, optimizer, batches, loaded)
    finally:
        loaded.close()
