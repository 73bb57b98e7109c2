"""Pace of runs and evaluations on this machine: as recorded by those in the table's folder, or measured in seconds."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.images import ImageFiles
from manyview.parsing import parse_json
from manyview.recipes.reproduce.inputs import Inputs
from manyview.recipes.reproduce.planned_runs import RowSettings
from manyview.runs import RunFolder, atomic_write
from manyview.runs.progress import Progress, no_progress
from manyview.runs.sealed import written_step
from manyview.terminal import SafeConsole
from manyview.training.initial.network import build_trial
from manyview.training.pace import measure_pace
from manyview.training.plan import TrainingPlan
from manyview.training.settle import settle, start_hardware
from manyview.training.targets import Targets, find_labeled_images
from manyview.views import views_per_image

PACES_FILE = "paces.json"
# As of a run that takes so long: a second or two of steps after the first ones, but a quarter of it at most.
_SECONDS = 40.0
# On a CPU, a step takes as long as its pixels, so that a part of one tells its duration, in less memory.
_CPU_PIXELS = 2**19
_FEATURE_IMAGES = 48


class Paces:
    """Seconds of a step and of an evaluated image, kept in the table's folder.

    Args:
        out: folder of the table.
        inputs: images and labels.
    """

    def __init__(self, out: Path, inputs: Inputs) -> None:
        self._file = out / PACES_FILE
        self._inputs = inputs
        self._known: dict[str, float] = _read(self._file)

    def step(self, base: RowSettings) -> float:
        """Seconds of an optimizer step of a row: as measured before in this folder, or as measured now.

        The pace of the row's own runs does not count: where rows have equal time, their length depends on this figure.

        Raises:
            UserError: as for starting the run.
        """
        key = f"{base.pace_key} on {_machine()}"
        if key not in self._known:
            self._keep(key, measure_step(base.config, base.plan, self._inputs.files))
        return self._known[key]

    def image(self, backbone: str, size: int, workers: int | None, device: str) -> float:
        """Seconds for the features of an image at a size.

        Raises:
            UserError: an unknown backbone, or an image that cannot be read.
        """
        key = f"features of {backbone} at {size} on {device} of {_machine()}"
        if key not in self._known:
            self._keep(key, measure_image(backbone, size, self._inputs.files, workers, device))
        return self._known[key]

    def _keep(self, key: str, seconds: float) -> None:
        self._known[key] = seconds
        self._file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self._file, json.dumps(self._known, indent=1) + "\n")


def recorded_pace(runs: Iterable[RunFolder]) -> float | None:
    """Seconds of an optimizer step, the mean over the epochs that runs have ended; None if they have ended none."""
    steps, seconds = 0, 0.0
    for run in runs:
        epochs = [record for record in run.read_metrics() if record["kind"] == "epoch"]
        if epochs:
            views_per_step = run.read_json("run.json")["plan"]["views_per_step"]
        for start, record in pairwise([{"step": 0}, *epochs]):
            steps += record["step"] - start["step"]
            seconds += (record["step"] - start["step"]) * views_per_step / record["views_per_second"]
    return seconds / steps if steps else None


def trained_seconds(run: RunFolder) -> float:
    """Seconds that the training of a run's written weights took, without its start and measurements.

    By the pace of its epochs: a run that was stopped within its first has 0.
    """
    return written_step(run.weights) * (recorded_pace([run]) or 0.0)


def measure_step(
    config: PretrainConfig, plan: TrainingPlan, files: ImageFiles, progress: Progress = no_progress
) -> float:
    """Seconds of an optimizer step, from a few steps of a method that is then discarded.

    On a CPU the steps may be of fewer images; their time is scaled by the number of views.

    Args:
        config: of the run.
        plan: of the run.
        files: images, unless the run learns from labels, whose images then count.
        progress: called with what is done.

    Raises:
        UserError: as for starting the run.
    """
    files, targets = find_labeled_images(config) if config.method.labeled else (files, None)
    hardware = start_hardware(config)
    views = views_per_image(config.views)
    pixels = sum(group.count * group.size**2 for group in config.views.layout)
    batch = plan.batch_size
    if hardware.device.type == "cpu":
        batch = min(batch, max(_CPU_PIXELS // pixels, 2))
    while True:
        small = _with_batch(config, batch)
        try:
            return _measured(small, files, targets, hardware, progress) * plan.views_per_step / (batch * views)
        except UserError:  # some methods need more images in a step
            if batch >= plan.batch_size:
                raise
            batch = min(2 * batch, plan.batch_size)


def _with_batch(config: PretrainConfig, batch: int) -> PretrainConfig:
    values = config.model_dump()
    values["training"] |= {"batch_size": batch, "accumulate": 1, "epochs": None, "steps": 1, "hours": None}
    # What lies beyond the only step would be refused.
    values["training"] |= {"warmup_epochs": 0.0, "warmup_steps": 0, "milestones": None, "freeze_backbone_steps": 0}
    return PretrainConfig.model_validate(values)


def _measured(
    config: PretrainConfig, files: ImageFiles, targets: Targets | None, hardware: Any, progress: Progress
) -> float:
    trial = partial(build_trial, module=None, hardware=hardware, targets=targets)
    with torch.random.fork_rng(devices=[]):
        settled = settle(config, files, None, hardware, build=trial, console=SafeConsole(quiet=True), targets=targets)
        method = trial(settled.config)
        pace = measure_pace(settled.config, files, settled.plan, hardware.fabric, method, _SECONDS, None, progress)
    return pace.step


def measure_image(backbone: str, size: int, files: ImageFiles, workers: int | None, device: str) -> float:
    """Seconds for the features of an image, with decoding, from a few dozen images.

    Args:
        backbone: name of the network.
        size: side of the images in pixels.
        files: images.
        workers: loader processes; None: by cores.
        device: as given by a user.

    Raises:
        UserError: an unknown backbone, or an image that cannot be read.
    """
    from manyview.backbones import build_backbone
    from manyview.evaluation.features.extract import extract

    with torch.random.fork_rng(devices=[]):
        network = build_backbone(backbone).eval()
    names = [files[index] for index in range(min(len(files), _FEATURE_IMAGES))]
    extract(network, files.root, names[:2], size, workers=0, device=device)  # allocates memory
    began = time.perf_counter()
    extract(network, files.root, names, size, workers=workers, device=device)
    return (time.perf_counter() - began) / len(names)


def _machine() -> str:
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def _read(file: Path) -> dict[str, float]:
    try:
        return {str(key): float(value) for key, value in parse_json(file.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error}): delete it, and what it holds is measured again") from error
