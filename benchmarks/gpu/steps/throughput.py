"""Throughput of pre-training a ResNet-50 at 224 pixels, and the cost of the views.

Each part runs the training loop's own step. "ready" has its batch on the device from the start, and is the baseline of
the others, which load JPEGs of 640 x 480 from files. "compiled", also on a ready batch, is last: compiling takes a
minute.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.job import Job
from benchmarks.images import describe
from benchmarks.training.steps import Steps, configure, started
from manyview.config import PretrainConfig
from manyview.training.device_views import augment_groups

AIM = 0.05  # of a step, for rendering on the device
PARTS: dict[str, dict[str, Any]] = {
    "ready": {"training.renderer": "cpu"},
    "device_renderer": {"training.renderer": "device"},
    "cpu_renderer": {"training.renderer": "cpu"},
    "nvjpeg": {"training.renderer": "device", "data.decode": "device"},
    "compiled": {"training.renderer": "cpu", "training.compile": True},
}
READY = ("ready", "compiled")
SETTINGS: dict[str, Any] = {
    "backbone.name": "resnet50",
    "views.size": 224,
    "training.batch_size": 64,
    "training.precision": "bf16",
}
TINY_SETTINGS: dict[str, Any] = {
    "backbone.name": "timm/test_resnet",
    "views.size": 32,
    "training.batch_size": 2,
    "method.projection_dim": 64,
    "method.prediction_hidden_dim": 32,
    "data.workers": 1,
}


def run(job: Job) -> None:
    images = job.images((64, 48), 16) if job.tiny else job.images((640, 480), 512)
    settings = SETTINGS | (TINY_SETTINGS if job.tiny else {}) | {"training.device": job.device.type}
    job.save("settings", {**settings, "photographs": describe(job.options.photos)})
    # No compiler is required on a CPU: torch.compile does nothing there.
    eager = torch.compiler.set_stance("force_eager") if job.device.type == "cpu" else contextlib.nullcontext()
    with eager:
        for name, change in PARTS.items():
            job.attempt(name, partial(_part, job, name, configure(images, settings | change)))


def _part(job: Job, name: str, config: PretrainConfig) -> dict[str, Any]:
    with started(config, job.options.work / "throughput") as steps:
        figures = _measure(job, steps, name)
        if config.training.renderer == "device" and config.data.decode == "workers":
            figures["rendering"] = _rendering(job, steps)
        return figures


def _measure(job: Job, steps: Steps, name: str) -> dict[str, Any]:
    """Rates over some steps, after a warm-up for compilation, allocation and prefetched batches."""
    batches = itertools.repeat(next(steps.batches)) if name in READY else steps.batches
    workers = len(steps.processes)
    unprepared = 0 if name in READY else 2 * workers
    began = time.perf_counter()
    steps.run(batches, 1 if job.tiny else 5 + unprepared)
    warm_up = time.perf_counter() - began
    count = 2 if job.tiny else 40
    seconds, waited = steps.run(batches, count)
    plan = steps.training.settled.plan
    figures = {
        "workers": workers,
        "views_per_second": count * plan.views_per_step / seconds,
        "photographs_per_second": count * plan.batch_size / seconds,
        "seconds_per_step": seconds / count,
        "waiting": waited / seconds,
        "warm_up_seconds": warm_up,
    }
    if name != "ready":
        figures["throughput_kept"] = _ready_seconds(job) / figures["seconds_per_step"]
    if job.device.type == "cuda":
        figures["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
    return figures


def _rendering(job: Job, steps: Steps) -> dict[str, Any]:
    """Time of the device renderer alone for a batch, also as a share of a step on a ready batch."""
    times = []
    for _ in range(2 if job.tiny else 20):
        batch = next(steps.loaded)
        groups = tuple(views.to(steps.device) for views in batch.groups)
        times.append(_seconds(steps, partial(augment_groups, groups, batch.tables, rgb=(0, 1, 2))))
    seconds = sorted(times)[len(times) // 2]
    return {"seconds": seconds, "share_of_step": seconds / _ready_seconds(job), "aim": AIM}


def _ready_seconds(job: Job) -> float:
    """Seconds of a step on a ready batch; NaN if that part failed."""
    return job.result["ready"].get("seconds_per_step", math.nan)


def _seconds(steps: Steps, work: Any) -> float:
    """Seconds that work takes, by the device's clock if it has one."""
    if steps.device.type != "cuda":
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    steps.synchronize()
    begin.record()
    work()
    end.record()
    steps.synchronize()
    return begin.elapsed_time(end) / 1000
