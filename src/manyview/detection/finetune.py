"""Fine-tunes a detector on a pre-trained backbone and evaluates it: the transfer of the paper's Table 3."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Unpack

import torch

import manyview
from manyview import distributed
from manyview.backbones import Backbone
from manyview.detection.dataset import DetectionData
from manyview.detection.detect import DetectionRuntime
from manyview.detection.display import DetectionDisplay
from manyview.detection.loop import run_loop
from manyview.detection.models import WeightMatch, match_weights
from manyview.detection.run_files import check_folder, finish, load_newest, opened
from manyview.detection.session import FineTuningSession
from manyview.detection.settings import DetectionSettings, settle
from manyview.detection.starting import make_optimizer, new_detector, starting_backbone
from manyview.errors import UserError
from manyview.labels.masks import mask_tools
from manyview.options.base import StrPath, verb
from manyview.options.detection import FineTuneOptions
from manyview.runs import RunFolder, provenance
from manyview.runtime import resolve_device


@verb(FineTuneOptions)
def fine_tune(weights: StrPath | None, *, quiet: bool = False, **options: Unpack[FineTuneOptions]) -> dict[str, Any]:
    """Fine-tune a Faster or Mask R-CNN on a pre-trained backbone, and compute its average precision.

    In MoCo's protocol (arXiv 1911.05722, Section 4.2): SGD with momentum .9 and weight decay 1e-4, a warm-up from a
    thousandth of the learning rate, two steps down to a tenth; images mirrored with probability .5, their short
    side drawn anew each time; nothing frozen; every norm on its batch's statistics, over all processes on CUDA devices,
    and with statistics measured anew ("precise") before each evaluation. Images without an object are not
    trained on. ``settle`` says how a shorter schedule or another batch changes the rest. Under torchrun the batch is
    divided among the processes.

    Everything random is a function of the seed and of the iteration, so that a run that was stopped and resumed ends
    with the same weights, to the bit on a CPU, whatever the number of workers.

    Args:
        weights: run folder or checkpoint file of a torchvision ResNet; may be None with ``random_init``.
        quiet: print nothing.
        **options: as ``FineTuneOptions`` declares them.

    Returns:
        Plain data, as in metrics.json: "protocol" (all that the results depend on), "results" ("box" and "mask":
        COCO's AP, AP50, AP75 and more; "voc": Pascal VOC's, with 11 points; fractions of 1, None if undefined),
        "by_iteration" (all evaluations), and "provenance" with "seconds", the time since the run was started or
        resumed.

    Raises:
        UserError: a setting is out of range, a file is missing, malformed or unreadable, ``out`` holds something else,
            a run to resume is another, pycocotools is not installed, or a loss is not finite.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, after saving.
    """
    start = time.perf_counter()
    settings, resume = settle(options), options["resume"]
    runtime = DetectionRuntime(_join(options["device"]), settings.precision, options["workers"])
    folder = RunFolder(Path(options["out"]))
    _check(settings, options["draw"], options["checkpoint_minutes"])
    check_folder(folder, resume)
    distributed.wait_for_all()  # the first process would otherwise make the folder that another has yet to check
    about = provenance()
    mask_tools()  # fails now if pycocotools is missing, and not after hours
    data = _read(options)
    own, origin = starting_backbone(
        None if weights is None else Path(weights),
        options["backbone"],
        random_init=options["random_init"],
        seed=settings.seed,
    )
    protocol = {**origin, **settings.describe(), **data.describe(), **_surroundings(runtime.device)}
    tuning = _set_up(own, settings, data, runtime, folder, quiet=quiet)
    tuning.checkpoint_minutes = options["checkpoint_minutes"]
    match = match_weights(tuning.detector, own)
    with opened(folder, protocol, resume):
        _announce(tuning, match, "Random weights" if options["random_init"] else origin["weights"])
        if resume:
            load_newest(tuning)
        run_loop(tuning)
        about["seconds"] = round(time.perf_counter() - start, 1)
        return finish(tuning, protocol, about, options["draw"])


def _read(options: FineTuneOptions) -> DetectionData:
    """Training and validation images with their labels."""
    images, val_images = Path(options["images"]), options["val_images"]
    return DetectionData.read(
        (Path(options["train_labels"]), images),
        (Path(options["val_labels"]), Path(val_images or images)),
        masks=options["masks"],
        problems=options["label_problems"],
    )


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
        "synchronised_norms": _synchronized(device),
        "versions": {"manyview": manyview.__version__, "torch": str(torch.__version__)},
    }


def _synchronized(device: torch.device) -> bool:
    """Whether norms are synchronized over all processes, which PyTorch supports on CUDA devices."""
    return distributed.world_size() > 1 and device.type == "cuda"


def _set_up(
    backbone: Backbone,
    settings: DetectionSettings,
    data: DetectionData,
    runtime: DetectionRuntime,
    folder: RunFolder,
    *,
    quiet: bool,
) -> FineTuningSession:
    display = DetectionDisplay(settings.iterations, enabled=not quiet and distributed.rank() == 0)
    detector, description = new_detector(backbone, data, settings, sync_batch_norm=_synchronized(runtime.device))
    detector = detector.to(runtime.device)
    optimizer = make_optimizer(detector)
    return FineTuningSession(settings, data, folder, detector, description, optimizer, runtime, display)


def _announce(tuning: FineTuningSession, match: WeightMatch, weights: str) -> None:
    """Report the initial weights, oddities of the labels, and the length of the training."""
    settings, images = tuning.settings, len(tuning.data.trained_on)
    tuning.display.say(f"{weights}: {match}.")
    for sentence in tuning.data.remarks():
        tuning.display.say(sentence, style="yellow")
    passes = settings.iterations * settings.batch_size / images
    tuning.display.say(
        f"{settings.iterations:,} iterations of {settings.batch_size} images, {passes:,.1f} passes over "
        f"{images:,}; learning rate {settings.learning_rate:g}."
    )
