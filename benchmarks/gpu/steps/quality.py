"""``benchmarks.evaluation.quality``: the recipes at equal views, seed after seed until the time is up.

Before that, what shorter runs of two of them reach, each annealed to its own end: quality over the seconds of one card.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.evaluation import quality
from benchmarks.gpu.job import Job
from manyview.scenes import write_scenes

USUAL = (
    "--instruments logistic --view-size 96 --eval-size 128 --views 200000 --only recommended paper simsiam "
    "--set monitor.on_collapse=warn"
)
TINY = "--backbone timm/test_resnet --view-size 32 --eval-size 32 --views 64 --only paper --set data.workers=0"


SHORTER = (10_000, 40_000)  # views; of the first seed
OVER_TIME = ("recommended", "simsiam")


def run(job: Job) -> None:
    images, train, val = _labeled(job)
    always = [str(images), "--train", str(train), "--val", str(val), *shlex.split(TINY if job.tiny else USUAL)]
    longest = 0.0
    if not job.tiny:
        for views in SHORTER:
            _shorter(job, views, always)
    for seed in itertools.count():
        each = ["--seed", str(seed), "--out", str(job.options.work / f"quality-{seed}")]
        options = quality.parse([*always, *each, *shlex.split(job.options.quality)])
        for case in quality.chosen(options):
            if seed and job.seconds_left < longest:
                return  # a row as long as the longest would be cut off
            before = job.seconds_left
            job.attempt(f"seed {seed}, {case.name}", partial(quality.row, case, options))
            longest = max(longest, before - job.seconds_left)
        if job.tiny or job.failed:
            return


def _shorter(job: Job, views: int, always: Sequence[str]) -> None:
    """What the chosen ones of two recipes reach within a number of views."""
    out = job.options.work / f"quality-of-{views}-views"
    options = quality.parse([*always, *shlex.split(job.options.quality), "--views", str(views), "--out", str(out)])
    for case in quality.chosen(options):
        if case.name in OVER_TIME:
            job.attempt(f"{case.name}, {views:,} views", partial(quality.row, case, options))


def _labeled(job: Job) -> tuple[Path, Path, Path]:
    """A folder of images, with their training and validation labels."""
    if job.options.train_labels:
        return job.options.photos, job.options.train_labels, job.options.val_labels
    count, size = (24, (64, 48)) if job.tiny else (6000, (128, 128))
    folder = job.options.work / f"scenes-{count}"
    write_scenes(folder, count, size=size)
    return folder / "images", folder / "train.csv", folder / "val.csv"
