"""What a run is, settled once and before anything is built: nothing changes it afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console

from manyview import distributed
from manyview.config import PretrainConfig
from manyview.images import ImageFiles
from manyview.methods import Method
from manyview.runs import RunFolder
from manyview.runtime import choose_precision, resolve_device, silenced
from manyview.training.init_weights import InitialWeights
from manyview.training.normalization import settle_normalization
from manyview.training.optimizer import check_warmup
from manyview.training.plan import TrainingPlan, make_plan
from manyview.training.renderer import settle_renderer


@dataclass(frozen=True)
class Hardware:
    """Where a run computes.

    Attributes:
        fabric: device, processes and arithmetic, ready to compute.
        precision: "float32" or "bf16".
    """

    fabric: Fabric
    precision: str

    @property
    def device(self) -> torch.device:
        """This process's."""
        device: torch.device = self.fabric.device
        return device

    @property
    def processes(self) -> int:
        """How many train together."""
        return int(self.fabric.world_size)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks."""
        return bool(self.fabric.global_rank == 0)

    def describe(self) -> dict[str, Any]:
        """Plain data for ``run.json``: what a run's weights depend on."""
        return {"device": self.device.type, "precision": self.precision, "processes": self.processes}


def start_hardware(config: PretrainConfig) -> Hardware:
    """Fabric on the chosen device; under torchrun, one process of its world, with DDP.

    Raises:
        UserError: a device that this machine or this PyTorch lacks.
    """
    device = resolve_device(config.training.device, "training.device")
    precision = choose_precision(config.training.precision, device)
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    devices: Any = local if world > 1 or device.type == "cpu" else ([device.index or 0] if device.type == "cuda" else 1)
    # Fabric tells what was asked of it, and advises on hardware that the user has deliberately not chosen.
    with silenced("lightning_fabric"):
        fabric = Fabric(
            accelerator=device.type,
            devices=devices,
            num_nodes=max(world // local, 1),
            strategy="ddp" if world > 1 else "auto",
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
        fabric.launch()
    distributed.leave_at_exit()
    return Hardware(fabric, choose_precision(config.training.precision, fabric.device))


@dataclass(frozen=True)
class Settled:
    """All that a run depends on.

    Attributes:
        asked: the configuration as the user asked for it.
        config: what runs: the same with the batch that fits the data, the images' mean and standard deviation and the
            renderer filled in.
        plan: its batches and steps.
        hardware: where it computes.
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
    resumed: RunFolder | None = None,
) -> Settled:
    """Fill in what the user left to the data, the initial weights and the machine.

    Every process must call this at once, as some of it is measured by the first one or by all together.

    Args:
        config: as the user asked for it.
        files: the run's images.
        initial: the weights that it starts from, if any.
        hardware: where it is to compute.
        build: a method for a configuration, to measure a step of it; it is thrown away.
        console: where to say what was measured.
        resumed: the folder of a run that goes on, which keeps what it was started with.

    Raises:
        UserError: the images are too few or cannot be read, or the machine cannot do what was asked for.
    """
    plan = make_plan(config, len(files), hardware.processes)
    check_warmup(config.training, plan.steps_per_epoch)
    given = initial.normalization if initial else None
    mean, std = settle_normalization(config, files, console, resumed=resumed, initial=given)
    values = config.model_dump()
    values["training"] |= {"batch_size": plan.batch_size, "accumulate": plan.accumulate}
    values["views"] |= {"mean": mean, "std": std}
    values["training"]["renderer"] = settle_renderer(
        PretrainConfig.model_validate(values), files, hardware.fabric, build, console, resumed=resumed
    )
    settled = PretrainConfig.model_validate(values)
    settled.method.check(settled, len(files))
    return Settled(config, settled, plan, hardware)
