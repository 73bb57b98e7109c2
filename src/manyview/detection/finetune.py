"""Fine-tunes a detector on a backbone and measures it: the transfer of the paper's Table 3."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import manyview
from manyview import distributed
from manyview.backbones import Backbone
from manyview.detection.dataset import DetectionData
from manyview.detection.detect import Computing
from manyview.detection.display import DetectionDisplay
from manyview.detection.loop import run_loop
from manyview.detection.models import Landing, landed
from manyview.detection.run_files import check_folder, finish, opened, take_up
from manyview.detection.session import FineTuning
from manyview.detection.settings import (
    BATCH_SIZE,
    MAX_SIDE,
    PRECISE_BATCHES,
    REGIONS,
    TEST_PROPOSALS,
    DetectionSettings,
    settle,
)
from manyview.detection.starting import make_optimizer, new_detector, starting_backbone
from manyview.errors import UserError
from manyview.labels import Problems
from manyview.labels.masks import mask_tools
from manyview.runs import RunFolder, provenance
from manyview.runtime import resolve_device


def fine_tune(
    weights: str | os.PathLike[str] | None,
    *,
    images: str | os.PathLike[str],
    train_labels: str | os.PathLike[str],
    val_labels: str | os.PathLike[str],
    out: str | os.PathLike[str],
    val_images: str | os.PathLike[str] | None = None,
    label_problems: Problems = "refuse",
    recipe: str = "voc-24k",
    architecture: str = "c4",
    masks: bool = False,
    iterations: int | None = None,
    batch_size: int = BATCH_SIZE,
    learning_rate: float | int | None = None,
    short_side: str | int | Sequence[int] | None = None,
    test_short_side: int | None = None,
    max_side: int = MAX_SIDE,
    regions: int = REGIONS,
    test_proposals: int = TEST_PROPOSALS,
    precise_batches: int = PRECISE_BATCHES,
    eval_every: int | None = None,
    draw: int = 0,
    random_init: bool = False,
    backbone: str | None = None,
    seed: int = 0,
    workers: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    checkpoint_minutes: float | int = 10,
    resume: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Fine-tune a Faster or Mask R-CNN that starts with a backbone's weights, and measure its average precision.

    In MoCo's protocol (arXiv 1911.05722, Section 4.2): SGD with momentum .9 and weight decay 1e-4, a warm-up from a
    thousandth of the learning rate, two steps down to a tenth; photographs mirrored with probability .5, their short
    side drawn anew each time; nothing frozen; every norm on its batch's statistics, over all processes on CUDA devices,
    and with statistics measured anew ("precise") before each measurement. Photographs without an object are not
    trained on. ``settle`` says how a shorter schedule or another batch changes the rest. Under torchrun the batch is
    shared out over the processes.

    Everything random is a function of the seed and of the iteration, so that a run that was stopped and resumed ends
    with the same weights, to the bit on a CPU, whatever the number of workers.

    Args:
        weights: run folder or checkpoint file of a torchvision ResNet; may be None with ``random_init``.
        images: folder that the label files' names are relative to.
        train_labels: COCO JSON, Pascal VOC or YOLO, as ``read_annotations`` takes them.
        val_labels: the same to measure on; its classes must be among those of ``train_labels``.
        out: the run's folder: config.json, run.json, metrics.jsonl, detector.safetensors, results.json (COCO's result
            format, of the validation photographs), metrics.json and predictions.png.
        val_images: folder of the validation photographs; unset: ``images``.
        label_problems: "refuse" or "skip", as ``read_annotations`` takes it.
        recipe: "voc-24k" or "coco-1x".
        architecture: "c4" or "fpn".
        masks: learn and measure masks, which the labels must have.
        iterations: unset: the recipe's; otherwise its steps keep their share.
        batch_size: photographs a step, over all processes.
        learning_rate: unset: the recipe's at a batch of 8, proportional to the batch.
        short_side: in training, in pixels, as ``read_sides`` takes it; unset: the recipe's.
        test_short_side: unset: the longest of those in training.
        max_side: the long side is at most that.
        regions: regions of a photograph that train the heads.
        test_proposals: proposals of a photograph that reach the heads in test.
        precise_batches: batches that set the norms' statistics, at most; 0 keeps the running averages.
        eval_every: iterations between two measurements; unset: one at the end.
        draw: validation photographs to draw predictions on.
        random_init: start from random weights, as pre-training would: the baseline.
        backbone: the network, where the weights do not say it themselves.
        seed: everything random follows from it.
        workers: loader processes; unset: by cores.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "float32" (which "auto" means) or "bf16".
        checkpoint_minutes: between two checkpoints.
        resume: continue the run in ``out``, which must have been started with the same settings and data.
        quiet: print nothing.

    Returns:
        Plain data, as in metrics.json: "protocol" (all that the figures depend on), "results" ("box" and "mask":
        COCO's AP, AP50, AP75 and more; "voc": Pascal VOC's, with 11 points; fractions of 1, None if undefined),
        "by_iteration" (all measurements), and "provenance" with "seconds", the time since the run was started or
        resumed.

    Raises:
        UserError: a setting is out of range, a file is missing, malformed or unreadable, ``out`` holds something else,
            a run to resume is another, pycocotools is not installed, or a loss is not finite.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, after saving.
    """
    start = time.perf_counter()
    settings = settle(
        recipe,
        architecture=architecture,
        masks=masks,
        iterations=iterations,
        batch_size=batch_size,
        learning_rate=learning_rate,
        short_side=short_side,
        test_short_side=test_short_side,
        max_side=max_side,
        regions=regions,
        test_proposals=test_proposals,
        precise_batches=precise_batches,
        eval_every=eval_every,
        seed=seed,
        precision=precision,
    )
    computing = Computing(_join(device), settings.precision, workers)
    folder = RunFolder(Path(out))
    _check(settings, draw, checkpoint_minutes)
    check_folder(folder, resume)
    distributed.wait_for_all()  # the first process would otherwise make the folder that another has yet to check
    about = provenance()
    mask_tools()  # so that it is not missed after hours
    train, val = (Path(train_labels), Path(images)), (Path(val_labels), Path(val_images or images))
    data = DetectionData.read(train, val, masks=masks, problems=label_problems)
    own, origin = starting_backbone(
        None if weights is None else Path(weights), backbone, random_init=random_init, seed=seed
    )
    protocol = {**origin, **settings.describe(), **data.describe(), **_surroundings(computing.device)}
    tuning = _set_up(own, settings, data, computing, folder, quiet=quiet)
    tuning.checkpoint_minutes = checkpoint_minutes
    landing = landed(tuning.detector, own)
    with opened(folder, protocol, resume):
        _announce(tuning, landing, "Random weights" if random_init else origin["weights"])
        if resume:
            take_up(tuning)
        run_loop(tuning)
        result = finish(tuning, protocol, {**about, "seconds": round(time.perf_counter() - start, 1)}, draw)
    return result


def _join(device: str) -> torch.device:
    """This process's device, after meeting the others."""
    chosen = resolve_device(device)
    distributed.join(chosen)
    return chosen


def _check(settings: DetectionSettings, draw: int, checkpoint_minutes: float | int) -> None:
    if draw < 0:
        raise UserError(f"draw must be at least 0, not {draw}")
    if not checkpoint_minutes > 0:
        raise UserError(f"checkpoint_minutes must be over 0, not {checkpoint_minutes}")
    processes = distributed.world_size()
    if settings.batch_size % processes:
        raise UserError(
            f"a batch of {settings.batch_size} does not divide among {processes} processes: "
            f"use {-(-settings.batch_size // processes) * processes}"
        )


def _surroundings(device: torch.device) -> dict[str, Any]:
    return {
        "device": device.type,
        "processes": distributed.world_size(),
        "synchronised_norms": _synchronised(device),
        "versions": {"manyview": manyview.__version__, "torch": str(torch.__version__)},
    }


def _synchronised(device: torch.device) -> bool:
    """Whether norms count over all processes, which PyTorch can do on CUDA devices."""
    return distributed.world_size() > 1 and device.type == "cuda"


def _set_up(
    backbone: Backbone,
    settings: DetectionSettings,
    data: DetectionData,
    computing: Computing,
    folder: RunFolder,
    *,
    quiet: bool,
) -> FineTuning:
    display = DetectionDisplay(settings.iterations, enabled=not quiet and distributed.rank() == 0)
    detector, description = new_detector(backbone, data, settings, sync_batch_norm=_synchronised(computing.device))
    detector = detector.to(computing.device)
    optimizer = make_optimizer(detector)
    return FineTuning(settings, data, folder, detector, description, optimizer, computing, display)


def _announce(tuning: FineTuning, landing: Landing, weights: str) -> None:
    """Say which weights are there, what is odd about the data, and what will be done."""
    settings, photographs = tuning.settings, len(tuning.data.learned)
    tuning.display.say(f"{weights}: {landing}.")
    for sentence in tuning.data.remarks():
        tuning.display.say(sentence, style="yellow")
    passes = settings.iterations * settings.batch_size / photographs
    tuning.display.say(
        f"{settings.iterations:,} iterations of {settings.batch_size} photographs, {passes:,.1f} passes over "
        f"{photographs:,}; learning rate {settings.learning_rate:g}."
    )
