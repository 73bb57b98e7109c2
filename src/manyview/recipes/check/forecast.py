"""What a pre-training would take on this machine: its steps are measured, its memory follows from a few passes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.images import ImageFiles
from manyview.images.loading import worker_count
from manyview.recipes.reproduce.pace import measure_step
from manyview.runs.progress import Progress, no_progress
from manyview.runtime import core_count, memory_limit, resolve_device
from manyview.training.optimizer import check_schedule
from manyview.training.plan import make_plan
from manyview.training.settle import training_precision
from manyview.training.survival.memory import measure_needs

_SHARED = Path("/dev/shm")
_AHEAD = 2  # batches that each loader process keeps ready
_KEPT = 3  # checkpoints that a run keeps


def machine(config: PretrainConfig, folder: Path) -> dict[str, Any]:
    """Cores, loader processes, device, and the memory and disk that are free; None for what is unknown here.

    Args:
        config: of the run.
        folder: on the disk that the run would be written to.
    """
    device = resolve_device(config.training.device, "training.device")
    return {
        "cores": core_count(),
        "workers": worker_count(config.data.workers),
        "device": str(device),
        "memory": memory_limit(device),
        "shared_memory_free": shutil.disk_usage(_SHARED).free if _SHARED.is_dir() else None,
        "disk_free": shutil.disk_usage(folder).free,
    }


def forecast(
    config: PretrainConfig, files: ImageFiles, workers: int, progress: Progress = no_progress
) -> dict[str, Any]:
    """Steps, time, memory and disk of a run.

    Args:
        config: of the run.
        files: its images, all of which can be read.
        workers: loader processes.
        progress: called with what is done.

    Returns:
        "plan" and "remarks" in words, "steps" (of a run of ``training.hours`` as many as the pace allows), "views",
        "seconds_per_step" and "hours"; and bytes: "shared_memory", "memory" and "disk", of which the last two are None
        where they cannot be measured.

    Raises:
        UserError: the run would be refused, as with too few images or a warm-up longer than the run.
    """
    plan = make_plan(config, len(files))
    if config.training.hours is None:
        check_schedule(config.training, plan.steps_per_epoch)
    device = resolve_device(config.training.device, "training.device")
    with torch.random.fork_rng(devices=[]):
        needs = measure_needs(config, None, device, training_precision(config, device), progress)
    seconds = measure_step(config, plan, files, progress)
    pixels = sum(group.count * group.size**2 for group in config.views.layout) * config.data.channels
    batch = plan.batch_size
    hours = config.training.hours
    steps = plan.steps if hours is None else int(3600 * hours / seconds)
    return {
        "plan": str(plan) if hours is None else f"{hours:g} hours, some {steps:,} steps",
        "remarks": list(plan.remarks),
        "steps": steps,
        "views": steps * plan.views_per_step,
        "seconds_per_step": seconds,
        "hours": steps * seconds / 3600,
        "shared_memory": workers * _AHEAD * batch * pixels,
        "memory": None if needs is None else needs.activations(batch) + needs.states,
        "disk": None if needs is None else _KEPT * needs.states,
    }


def try_forecast(
    config: PretrainConfig, files: ImageFiles, workers: int, progress: Progress = no_progress
) -> tuple[dict[str, Any] | None, str]:
    """A forecast, or None and why the run would be refused."""
    try:
        return forecast(config, files, workers, progress), ""
    except UserError as error:
        return None, str(error)
