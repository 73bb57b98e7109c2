"""``benchmarks.detection.fine_tuning``: the same detector from random and from pre-trained weights.

The weights are those of --weights, or are pre-trained here by ``benchmarks.evaluation.quality``, without labels.
"""

from __future__ import annotations

import contextlib
import csv
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.detection import fine_tuning as detection
from benchmarks.evaluation import quality
from benchmarks.gpu.job import Job
from benchmarks.images import describe
from manyview.images import find_images
from manyview.labels import read_annotations
from manyview.runs import RunFolder
from manyview.scenes import write_scenes

# A cautious estimate for an H100 and about 700 images each for training and validation, in seconds: 70 for
# 400 steps of pre-training with 512 views each (3,000 views/s), 20 around them; for each detector 140 for its
# iterations (.7 each, most of it in the box head, on 16 x 512 regions), 15 for the statistics of its norms, 45 for
# measuring (.06 an image), 15 around them. With 20 for rendering scenes that is 540 of the limit's 570.
CASE = "paper-68"
PRETRAINING = "--backbone resnet50 --view-size 96 --views 200000"
DETECTION = "--iterations 200 --batch-size 16 --short-side 256-320 --precision bf16"
SCENES, SIZE = 1500, (240, 176)

TINY_PRETRAINING = "--backbone resnet18 --view-size 32 --views 64 --set data.workers=0"
TINY_DETECTION = "--iterations 2 --batch-size 2 --short-side 32 --regions 4 --workers 0"
TINY_SCENES, TINY_SIZE = 12, (48, 32)

RESERVE = 20  # seconds for a last checkpoint, and for what was imported before the step's clock was started


def run(job: Job) -> None:
    images, train, val = _labeled(job)
    images_used = describe(job.options.boxes)
    job.save("settings", {"photographs": images_used, "pretraining": _pretraining(job), "detection": _detection(job)})
    with stopped_in_time(job.seconds_left - RESERVE):
        weights = job.options.weights or _pretrained(job, images, train)
        if weights is None:
            return
        paths = ["--images", images, "--train", train, "--val", val, "--out", job.options.work / "detection"]
        options = detection.parse([str(weights), *map(str, paths), *shlex.split(_detection(job))])
        for name in detection.chosen(options):
            if job.seconds_left > RESERVE:
                job.attempt(name, partial(_row, name, options))


@contextlib.contextmanager
def stopped_in_time(seconds: float) -> Iterator[None]:
    """Send SIGTERM to this process after a time while entered: a run then saves a checkpoint and stops.

    Raises:
        SystemExit: when the time is up, outside of a run that handles the signal.
    """

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, stop)
    timer = threading.Timer(max(0, seconds), signal.pthread_kill, (threading.main_thread().ident, signal.SIGTERM))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, previous)


def _pretraining(job: Job) -> str:
    return TINY_PRETRAINING if job.tiny else PRETRAINING


def _detection(job: Job) -> str:
    """The options of ``benchmarks.detection.fine_tuning``, the user's own last."""
    return f"{TINY_DETECTION if job.tiny else DETECTION} {job.options.detection}".strip()


def _labeled(job: Job) -> tuple[Path, Path, Path]:
    """A folder of images, with their training and validation objects."""
    if job.options.boxes:
        return job.options.boxes, job.options.train_boxes, job.options.val_boxes
    count, size = (TINY_SCENES, TINY_SIZE) if job.tiny else (SCENES, SIZE)
    folder = job.options.work / f"scenes-{count}-of-{size[0]}x{size[1]}"
    write_scenes(folder, count, val_share=0.5, size=size)
    return folder / "images", folder / "instances_train.json", folder / "instances_val.json"


def _pretrained(job: Job, images: Path, train: Path) -> Path | None:
    """A run's folder; None if there is none."""
    case = next(case for case in quality.CASES if case.name == CASE)
    folder = job.options.work / "detection-pretraining"

    def pretrain() -> dict[str, Any]:
        began = time.monotonic()
        root, names = unlabeled(job, images, train)
        listed = _write_list(folder / "photographs.csv", names)
        labels = ["--train", str(listed), "--val", str(listed)]  # of which only the names are read
        options = quality.parse([str(root), *labels, "--out", str(folder), *shlex.split(_pretraining(job))])
        run = quality.pretrained(case, options)
        return {"seconds": time.monotonic() - began, **quality.story(run)}

    job.attempt("pretraining", partial(_kept, RunFolder(folder / CASE), pretrain))
    return None if "pretraining" in job.failed else folder / CASE


def unlabeled(job: Job, images: Path, train: Path) -> tuple[Path, Iterable[str]]:
    """Images for pre-training: --photos, or else the detectors' training images."""
    if job.options.photos:
        return job.options.photos, find_images(job.options.photos, job.options.train_labels)
    return images, read_annotations(train, images).names


def _row(name: str, options: Any) -> dict[str, Any]:
    """One fine-tuning: its main figures and its whole result."""

    def tune() -> dict[str, Any]:
        result = detection.fine_tuned(name, options)
        figures = {key: result["results"][metric][figure] for key, (metric, figure) in detection.FIGURES.items()}
        seconds = result["provenance"]["seconds"]
        return {**figures, "iterations": result["protocol"]["iterations"], "seconds": seconds, "result": result}

    return _kept(RunFolder(options.out / name), tune)


def _kept(folder: RunFolder, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of the work, or the log of its run if it is stopped."""
    try:
        return work()
    except SystemExit:
        lines = folder.read_metrics()
        log = {"measured": [line for line in lines if line["kind"] == "evaluation"], "last": lines[-1:]}
        reason = "its time was up; the same command resumes where it stopped, if --work still exists"
        return {"passed": False, "error": reason, "steps": lines[-1]["step"] if lines else 0, "log": log}


def _write_list(file: Path, names: Iterable[str]) -> Path:
    """Write a list of images for ``benchmarks.evaluation.quality``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as target:
        csv.writer(target).writerows([["image"], *([name] for name in names)])
    return file
