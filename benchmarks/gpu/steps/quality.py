"""``benchmarks.quality``: comparison of the recipes at equal views, seed after seed until the time is up."""

from __future__ import annotations

import itertools
import shlex
from functools import partial
from pathlib import Path

from benchmarks import quality
from benchmarks.gpu.job import Job
from manyview.scenes import write_scenes

USUAL = (
    "--instruments logistic --view-size 96 --eval-size 128 --views 200000 --only recommended paper simsiam "
    "--set monitor.on_collapse=warn"
)
TINY = "--backbone timm/test_resnet --view-size 32 --eval-size 32 --views 64 --only paper --set data.workers=0"


def run(job: Job) -> None:
    images, train, val = _labeled(job)
    always = [str(images), "--train", str(train), "--val", str(val), *shlex.split(TINY if job.tiny else USUAL)]
    longest = 0.0
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


def _labeled(job: Job) -> tuple[Path, Path, Path]:
    """A folder of images, with their training and validation labels."""
    if job.options.train_labels:
        return job.options.photos, job.options.train_labels, job.options.val_labels
    count, size = (24, (64, 48)) if job.tiny else (6000, (128, 128))
    folder = job.options.work / f"scenes-{count}"
    write_scenes(folder, count, size=size)
    return folder / "images", folder / "train.csv", folder / "val.csv"
