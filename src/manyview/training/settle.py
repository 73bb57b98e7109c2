"""Settling of a run: all values left open by the configuration are determined once, before anything is built."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.console import Console

from manyview import distributed
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.fabric import Fabric, LightningEnvironment, TorchElasticEnvironment
from manyview.images import ImageFiles
from manyview.methods import Method
from manyview.runs import RunFolder
from manyview.runs.environment import check_threads, restore_threads
from manyview.runtime import choose_precision, local_process_count, process_count, resolve_device, silenced
from manyview.training.initial.weights import InitialWeights
from manyview.training.normalization import settle_normalization
from manyview.training.optimizer import check_schedule
from manyview.training.pace import settle_steps
from manyview.training.plan import TrainingPlan, make_plan
from manyview.training.processes.number import check_divides, stored_sizes
from manyview.training.quality import Instrument
from manyview.training.renderer import settle_renderer
from manyview.training.targets import Targets

# Of views of up to this size, a network of stride 32 makes maps of one pixel before its last strided convolution. The
# gradient of such a convolution's weights in bf16 on a CPU is wrong, and another each time: oneDNN reads memory that
# nothing was written to (PyTorch 2.14.1, 3 x 3 and 5 x 5 kernels with stride 2; right from maps of two pixels on).
_ONE_PIXEL_VIEW = 16


@dataclass(frozen=True)
class Hardware:
    """Device, processes and precision of a run.

    Attributes:
        fabric: Lightning Fabric, launched.
        precision: "float32" or "bf16".
    """

    fabric: Fabric
    precision: str

    @property
    def device(self) -> torch.device:
        """Device of this process."""
        device: torch.device = self.fabric.device
        return device

    @property
    def processes(self) -> int:
        """Number of processes."""
        return int(self.fabric.world_size)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return bool(self.fabric.global_rank == 0)

    def describe(self) -> dict[str, Any]:
        """Plain data for ``run.json``; a run's weights depend on it."""
        return {"device": self.device.type, "precision": self.precision, "processes": self.processes}


def is_wrong_in_bf16(config: PretrainConfig, device: torch.device) -> bool:
    """Whether bf16 may give wrong gradients on this device with views of this size (``_ONE_PIXEL_VIEW``)."""
    return device.type == "cpu" and min(group.size for group in config.views.layout) <= _ONE_PIXEL_VIEW


def training_precision(config: PretrainConfig, device: torch.device) -> str:
    """Precision of a run on a device, "float32" or "bf16"; "auto" is never one that gives wrong gradients there."""
    asked = config.training.precision
    return "float32" if asked == "auto" and is_wrong_in_bf16(config, device) else choose_precision(asked, device)


def start_hardware(config: PretrainConfig, started: Mapping[str, Any] | None = None) -> Hardware:
    """Launch Lightning Fabric on the chosen device; with DDP where torchrun or srun has started several processes.

    Args:
        config: device, precision and compute threads.
        started: ``provenance`` of the start of a resumed run, whose number of threads is set again.

    Raises:
        UserError: the device is not available, or not as many threads as the resumed run was started with.
    """
    device = resolve_device(config.training.device, "training.device")
    precision = training_precision(config, device)
    world = process_count()
    if world > 1 and device.type == "mps":
        raise UserError("several processes train on CUDA devices or on CPUs, not on Metal: use training.device=cpu")
    local = local_process_count()
    devices: Any = local if world > 1 or device.type == "cpu" else ([device.index or 0] if device.type == "cuda" else 1)
    # Fabric logs its settings, and advises on hardware that the user deliberately did not choose.
    with silenced("lightning_fabric"):
        fabric = Fabric(
            accelerator=device.type,
            devices=devices,
            num_nodes=max(world // local, 1),
            strategy="ddp" if world > 1 else "auto",
            plugins=TorchElasticEnvironment() if world > 1 else LightningEnvironment(),
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
        fabric.launch()
    distributed.leave_at_exit()
    if config.training.threads:  # after Fabric, which shares the cores out among several processes
        torch.set_num_threads(config.training.threads)
    restore_threads(started or {})
    check_threads(torch.get_num_threads())
    return Hardware(fabric, precision)


@dataclass(frozen=True)
class Settled:
    """A settled run.

    Attributes:
        asked: configuration as given by the user.
        config: the same with the batch size that fits the data, mean and standard deviation of the images, the renderer
            and the classes of the labels filled in, and with steps instead of hours.
        plan: batches and steps.
        hardware: device, processes and precision.
    """

    asked: PretrainConfig
    config: PretrainConfig
    plan: TrainingPlan
    hardware: Hardware


def settle(
    config: PretrainConfig,
    files: ImageFiles,
    initial: InitialWeights | None,
    hardware: Hardware,
    *,
    build: Callable[[PretrainConfig], Method],
    console: Console,
    targets: Targets | None = None,
    resumed: RunFolder | None = None,
    instrument: Instrument | None = None,
) -> Settled:
    """Determine the settings that depend on the data, the initial weights and the machine.

    All processes must call this together, as some values are measured by the first one or by all.

    Args:
        config: configuration as given by the user.
        files: images of the run.
        initial: initial weights, if any.
        hardware: device, processes and precision.
        build: builds a method to measure its step, which is discarded.
        console: console for measured values.
        targets: labels of the images, if the method learns from any.
        resumed: folder of a resumed run, which keeps its values.
        instrument: what measures the backbone's quality during the run, whose time counts into its hours.

    Raises:
        UserError: too few images, unreadable images, or settings that the machine does not support.
    """
    began = time.monotonic()
    asked = config
    if resumed is not None:
        config = stored_sizes(config, resumed)
        check_divides(config, resumed, hardware.processes)
    plan = make_plan(config, len(files), hardware.processes)
    if config.training.hours is None:
        check_schedule(config.training, plan.steps_per_epoch)
    values = config.model_dump()
    values["training"] |= {"batch_size": plan.batch_size, "accumulate": plan.accumulate}
    if targets is not None:
        values["method"]["classes"] = targets.classes
    fitted = PretrainConfig.model_validate(values)
    fitted.method.check(fitted, len(files), hardware.processes)
    given = initial.normalization if initial else None
    mean, std = settle_normalization(config, files, console, resumed=resumed, initial=given)
    values["views"] |= {"mean": mean, "std": std}
    values["training"]["renderer"] = settle_renderer(
        PretrainConfig.model_validate(values), files, hardware.fabric, build, console, resumed=resumed
    )
    if config.training.hours is not None:
        fitted = PretrainConfig.model_validate(values)
        steps = settle_steps(
            *(fitted, files, plan, hardware.fabric, build, console),
            began=began,
            resumed=resumed,
            instrument=instrument,
        )
        plan = replace(plan, steps=steps)
        values["training"] |= {"steps": steps, "hours": None}
        check_schedule(PretrainConfig.model_validate(values).training, plan.steps_per_epoch)
    return Settled(asked, PretrainConfig.model_validate(values), plan, hardware)
