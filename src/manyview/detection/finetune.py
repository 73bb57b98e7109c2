"""Fine-tunes a detector on a pre-trained backbone and evaluates it: the transfer of the paper's Table 3."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch

import manyview
from manyview import distributed
from manyview.backbones import Backbone
from manyview.backbones.beside import find_baselines, in_words
from manyview.detection.dataset import DetectionData
from manyview.detection.detect import DetectionRuntime
from manyview.detection.display import DetectionDisplay
from manyview.detection.loop import run_loop
from manyview.detection.models import WeightMatch, match_weights
from manyview.detection.models.build import check_backbone
from manyview.detection.pictures import Drawing
from manyview.detection.run_files import (
    BESIDE,
    FolderState,
    check_folders,
    finish,
    join_results,
    load_newest,
    opened,
    read_finished,
)
from manyview.detection.schedule import enough_iterations
from manyview.detection.session import FineTuningSession
from manyview.detection.settings import DetectionSettings, settle
from manyview.detection.starting import Start, baseline_start, first_start, make_optimizer, new_detector
from manyview.errors import UserError
from manyview.images import ImageFiles
from manyview.images.used_bits import describe_depth
from manyview.labels import check_split, image_folder, is_data_file, validation_labels
from manyview.labels.masks import mask_tools
from manyview.options.base import StrPath, among, verb
from manyview.options.detection import FineTuneOptions
from manyview.options.shared import Normalization
from manyview.runs import RunFolder, provenance
from manyview.runs.result import Result
from manyview.runtime import resolve_device


@dataclass(frozen=True)
class Job:
    """What all starts of a fine-tuning share.

    Attributes:
        settings: schedule and sizes.
        data: training and validation images.
        runtime: device, precision and loader processes.
        checkpoint_minutes: time between two checkpoints.
        drawing: validation images to draw.
        quiet: print nothing.
    """

    settings: DetectionSettings
    data: DetectionData
    runtime: DetectionRuntime
    checkpoint_minutes: float | int
    drawing: Drawing
    quiet: bool


@verb(FineTuneOptions)
def fine_tune(weights: StrPath | None, *, quiet: bool = False, **options: Unpack[FineTuneOptions]) -> Result:
    """Fine-tune a Faster or Mask R-CNN on a pre-trained backbone, and compute its average precision.

    In MoCo's protocol (arXiv 1911.05722, Section 4.2): SGD with momentum .9 and weight decay 1e-4, a warm-up from a
    thousandth of the learning rate, two steps down to a tenth; images mirrored with probability .5, their short
    side drawn anew each time; nothing frozen; every norm on its batch's statistics, over all processes on CUDA devices,
    and with statistics measured anew ("precise") before each evaluation. Images without an object are not
    trained on. ``settle`` says how a shorter schedule or another batch changes the rest. Under torchrun the batch is
    divided among the processes.

    The same is then done from each baseline, in ``out/beside/NAME``, with everything else the same: schedule, order,
    samples, initial weights of the heads.

    Everything random is a function of the seed and of the iteration, so that a run that was stopped and resumed ends
    with the same weights, to the bit on a CPU, whatever the number of workers.

    Args:
        weights: run folder or checkpoint file of a network that ``build_detector`` takes; or "random" for random
            initialization of the network ``backbone``.
        quiet: print nothing.
        **options: as ``FineTuneOptions`` declares them.

    Returns:
        Plain data, as in metrics.json: "protocol" (all that the results depend on), "results" ("box" and "mask":
        COCO's AP, AP50, AP75 and more; "voc": Pascal VOC's, with 11 points; fractions of 1, None if undefined),
        "by_class" (objects, images and average precision of each class), "by_iteration" (all evaluations), "remarks"
        (sentences, such as that the training was too short), "provenance" with "seconds", the time since the run was
        started or resumed, and, with baselines, "beside", the same of each by name.

    Raises:
        UserError: a setting is out of range, a file is missing, malformed or unreadable, ``out`` holds something else,
            a run to resume is another, pycocotools is not installed, or a loss is not finite.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, after saving.
    """
    settings = settle(options)
    runtime = DetectionRuntime(_join(options["device"]), settings.precision, options["workers"])
    out = Path(options["out"])
    drawing = Drawing(options["draw"], options["draw_threshold"])
    _check(settings, drawing, options["checkpoint_minutes"])
    if weights is None:
        raise UserError(
            "WEIGHTS is missing: name a run's folder or a checkpoint, or random for random init of --backbone resnet50"
        )
    baselines = find_baselines(weights, options["beside"])
    folders = [RunFolder(out), *(RunFolder(out / BESIDE / each.name) for each in baselines)]
    states = check_folders(folders, options["resume"])
    distributed.wait_for_all()  # the first process would otherwise make the folder that another has yet to check
    mask_tools()  # fails now if pycocotools is missing, and not after hours
    job = Job(settings, _read(options), runtime, options["checkpoint_minutes"], drawing, quiet)
    first = first_start(weights, options["backbone"], settings.seed, **among(Normalization, options))
    starts = [first, *(baseline_start(each, first.backbone, settings.seed) for each in baselines)]
    for start in starts:
        check_backbone(settings.architecture, start.backbone)
    results = [
        _tune(job, start, folder, state, starts[1:] if start is first else [])
        for start, folder, state in zip(starts, folders, states, strict=True)
    ]
    names = [each.name for each in baselines]
    return Result(join_results(folders[0], results[0], dict(zip(names, results[1:], strict=True))))


def _tune(
    job: Job, start: Start, folder: RunFolder, state: FolderState, followed_by: Sequence[Start]
) -> dict[str, Any]:
    """Fine-tune from one start in its folder, or read the result of what is done."""
    began, about = time.perf_counter(), provenance()
    settings, data = job.settings.describe(), job.data.describe()
    protocol = {**start.origin, **settings, **data, **_surroundings(job.runtime.device)}
    if state is FolderState.DONE:
        return read_finished(folder, protocol)
    tuning = _set_up(start.backbone, job, folder)
    match = match_weights(tuning.detector, start.backbone)
    resume = state is FolderState.BEGUN
    with opened(folder, protocol, resume):
        _announce(tuning, match, start, followed_by)
        tuning.record = folder.read_record()
        if resume:
            load_newest(tuning, tuning.record)
        run_loop(tuning)
        about["seconds"] = round(time.perf_counter() - began, 1)
        return finish(tuning, protocol, about, job.drawing)


def _read(options: FineTuneOptions) -> DetectionData:
    """Training and validation images with their labels."""
    train, val = Path(options["train_labels"]), validation_labels(options["train_labels"], options["val_labels"])
    split = check_split(val, options["val_split"])
    images, where = image_folder(train, options["images"]), options["val_images"] or options["images"]
    return DetectionData.read(
        (train, images),
        (val, images if where is None and not is_data_file(val) else image_folder(val, where)),
        masks=options["masks"],
        problems=options["label_problems"],
        val_split=split,
        class_names=options["class_names"],
    )


def _join(device: str) -> torch.device:
    """This process's device, after meeting the others."""
    chosen = resolve_device(device)
    distributed.join(chosen)
    return chosen


def _check(settings: DetectionSettings, drawing: Drawing, checkpoint_minutes: float | int) -> None:
    drawing.check()
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
        "synchronised_norms": distributed.world_size() > 1,
        "versions": {"manyview": manyview.__version__, "torch": str(torch.__version__)},
    }


def _set_up(backbone: Backbone, job: Job, folder: RunFolder) -> FineTuningSession:
    settings, data, runtime = job.settings, job.data, job.runtime
    display = DetectionDisplay(settings.iterations, enabled=not job.quiet and distributed.rank() == 0)
    detector, description = new_detector(backbone, data, settings, sync_batch_norm=distributed.world_size() > 1)
    detector = detector.to(runtime.device)
    optimizer = make_optimizer(detector)
    tuning = FineTuningSession(settings, data, folder, detector, description, optimizer, runtime, display)
    tuning.checkpoint_minutes = job.checkpoint_minutes
    return tuning


def _announce(tuning: FineTuningSession, match: WeightMatch, start: Start, followed_by: Sequence[Start]) -> None:
    """Report the initial weights, oddities of the labels, the length of the training, and what follows it."""
    settings, images = tuning.settings, len(tuning.data.trained_on)
    random = "weights_sha256" not in start.origin
    beside = f"Beside, {start.why}: " if start.why else ""
    tuning.display.say(f"{beside}{'Random init' if random else start.origin['weights']}: {match}.")
    if start.why:
        return
    if start.images:
        tuning.display.say(start.images)
    for sentence in tuning.data.remarks():
        tuning.display.say(sentence, style="yellow")
    files, depth = ImageFiles(tuning.data.train_images, tuning.data.train.names), tuning.description.bit_depth
    if tuning.is_main and (sentence := describe_depth(files, depth, option="--bit-depth")):
        tuning.display.say(sentence, style="yellow")
    passes = settings.iterations * settings.batch_size / images
    tuning.display.say(
        f"{settings.iterations:,} iterations of {settings.batch_size} images, {passes:,.1f} passes over "
        f"{images:,}; learning rate {settings.learning_rate:g}."
    )
    enough = enough_iterations(images, settings.batch_size)
    if settings.iterations < enough / 2:
        short = f"That is short: {enough:,} iterations are usual for so many images. Fewer do for a trial."
        tuning.display.say(short, style="yellow")
    if followed_by:
        names = ", ".join(f"{in_words(each.name)} ({each.why})" for each in followed_by)
        tuning.display.say(f"Then the same from: {names}. --beside none leaves that out.")
