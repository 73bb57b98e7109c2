"""Steps of a run that is to take some hours, from the pace of a few steps that are measured before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from rich.console import Console

from manyview import distributed
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.fabric import Fabric
from manyview.images import ImageFiles
from manyview.images.loading import worker_count
from manyview.methods import Method, Moment
from manyview.runs import RunFolder
from manyview.runs.progress import Progress, no_progress, spell
from manyview.runtime import core_count, local_process_count
from manyview.training.data import method_batch, start_loader
from manyview.training.device_views import DeviceViews
from manyview.training.optimizer import make_optimizer
from manyview.training.plan import BatchPlan, TrainingPlan
from manyview.training.quality import Instrument, interval, measurements

# The pace is measured for this share of the run, from one second to a minute.
_MEASURED, _SHORTEST, _LONGEST = 0.03, 1.0, 60.0
# First steps that are not counted: they allocate memory, compile kernels and take batches loaded ahead.
_UNCOUNTED, _LOADED_AHEAD = 3, 2
_FEWEST, _MOST = 3, 10_000
WAITING_TOO_MUCH = 1 / 3
"""Share of the time spent waiting for the loader above which something should be done about it."""
# The share of the time that checkpoints and the check of the weights at the end take.
_REST = 0.02


@dataclass(frozen=True)
class Pace:
    """What was measured before the first step.

    Attributes:
        step: seconds of an optimizer step, with all that it waits for.
        counted: number of steps measured.
        measurement: seconds of a measurement of the backbone's quality; 0 without any.
    """

    step: float
    counted: int
    measurement: float


def settle_steps(
    config: PretrainConfig,
    files: ImageFiles,
    plan: TrainingPlan,
    fabric: Fabric,
    build: Callable[[PretrainConfig], Method],
    console: Console,
    *,
    began: float,
    resumed: RunFolder | None,
    instrument: Instrument | None,
) -> int:
    """Number of steps of a run of ``training.hours``: as in the resumed run, or as many as fit the measured pace.

    All processes must call this together; all get the number of the first.

    Args:
        config: configuration with everything else settled.
        files: images of the run.
        plan: batches of the run.
        fabric: device and processes.
        build: builds a method for the measurement, which is discarded.
        console: console for the measured pace.
        began: time on ``time.monotonic`` from which the hours count.
        resumed: folder of a resumed run.
        instrument: what measures the backbone's quality during the run.

    Raises:
        UserError: the resumed run's configuration cannot be read, or the time is too short for a single step.
    """
    if resumed is not None:
        return int(resumed.settled("training.steps", lambda value: isinstance(value, int)))
    assert config.training.hours is not None
    seconds = 3600 * config.training.hours
    with console.status("Measuring the pace"):
        pace = measure_pace(config, files, plan, fabric, build(config), seconds, instrument)
    left = seconds * (1 - _REST) - (time.monotonic() - began)
    pixels = instrument.pixels if instrument else 0
    steps = distributed.from_first(lambda: fitting_steps(config, pace, left, pixels))
    if steps < 1:
        raise UserError(
            f"training.hours is {config.training.hours:g}, but a step takes {pace.step:.3g} s and the start took "
            f"{spell(time.monotonic() - began)}: give more time, or train with training.steps"
        )
    console.print(
        f"{spell(seconds)} at {pace.step:.3g} s a step, measured over {pace.counted}: "
        f"{replace(plan, steps=steps)}; the number of steps stays, also where they take longer.",
        highlight=False,
        markup=False,
    )
    return steps


def fitting_steps(config: PretrainConfig, pace: Pace, seconds: float, pixels: int = 0) -> int:
    """The number of steps that fit into a time, with the measurements of quality before and between them.

    Args:
        config: settled configuration but for the steps.
        pace: seconds of each.
        seconds: the time.
        pixels: that go through the backbone in a measurement; 0 without any.
    """

    def fits(steps: int) -> bool:
        count = measurements(steps, interval(config, steps, pixels)) if pixels else 0
        return steps * pace.step + count * pace.measurement <= seconds

    # The largest that fits, by bisection.
    fitting, beyond = 0, max(int(seconds / pace.step), 0) + 1
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        fitting, beyond = (middle, beyond) if fits(middle) else (fitting, middle)
    return fitting


def measure_pace(
    config: PretrainConfig,
    files: ImageFiles,
    plan: TrainingPlan,
    fabric: Fabric,
    method: Method,
    seconds: float,
    instrument: Instrument | None,
    progress: Progress = no_progress,
) -> Pace:
    """Train for a share of the run, and measure the backbone once.

    Args:
        config: settled configuration but for the steps.
        files: images of the run.
        plan: batches of the run.
        fabric: device and processes.
        method: method on the device; its weights change.
        seconds: intended duration of the run.
        instrument: what measures the backbone's quality during the run.
        progress: called with the number of steps done and the fewest that there will be.
    """
    enough = min(max(_MEASURED * seconds, _SHORTEST), _LONGEST)
    uncounted = _UNCOUNTED + -(-_LOADED_AHEAD * worker_count(config.data.workers) // plan.accumulate)
    fewest = uncounted + _FEWEST
    method.train()
    module, optimizer = fabric.setup(method, make_optimizer(method, config))
    batches = BatchPlan(replace(plan, steps=_MOST), 0, fabric.global_rank, fabric.world_size)
    loaded = start_loader(files, config, batches, pin=fabric.device.type == "cuda")
    took: list[float] = []
    with closing(DeviceViews(loaded, files, config, fabric.device)) as views:
        while len(took) < _MOST:
            progress(min(len(took), fewest), fewest, "measuring the pace")
            began = time.monotonic()
            for part in range(plan.accumulate):
                moment = Moment(len(took), _MOST, plan.steps_per_epoch)
                seen = method_batch(next(views), method, config.training.seed, moment, part)
                with fabric.no_backward_sync(module, enabled=part < plan.accumulate - 1):
                    loss = module(seen)["loss"]
                    fabric.backward(loss / plan.accumulate)
            optimizer.step()
            optimizer.zero_grad()
            method.after_step(moment)
            float(loss.detach())  # waits for the device
            took.append(time.monotonic() - began)
            done = len(took) >= fewest and sum(took[uncounted:]) >= enough
            if distributed.any_process(done or sum(took) >= seconds / 4):
                break
    progress(fewest, fewest, "measuring the pace")
    counted = took[uncounted:] or took[-1:]  # of steps so slow that they fill the time, the last
    return Pace(sum(counted) / len(counted), len(counted), _measure_once(instrument, method))


def _measure_once(instrument: Instrument | None, method: Method) -> float:
    """Seconds of a measurement of the backbone's quality."""
    if instrument is None:
        return 0.0
    instrument.prepare()
    began = time.monotonic()
    instrument.measure(method.backbone)
    return time.monotonic() - began


def waiting_advice(config: PretrainConfig, device: str, waiting: float) -> str:
    """What to set where a run waits for its loader.

    Args:
        config: settled configuration.
        device: type of the training device.
        waiting: share of the time, from 0 to 1.
    """
    cores = max(core_count() // local_process_count(), 1)
    workers = worker_count(config.data.workers)
    start = f"{waiting:.0%} of the time is spent waiting for images, which {_loaders(workers)} on {cores} cores load: "
    if workers < cores:
        return start + f"try data.workers={cores}"
    if device == "cuda":
        ways = [
            *(["training.renderer=device"] if config.training.renderer != "device" else []),
            *(["data.decode=device"] if config.data.decode != "device" and config.data.bands == "rgb" else []),
        ]
        if ways:
            return start + f"try {' with '.join(ways)}, which leaves that work to the GPU, or give the run more cores"
    return start + (
        "see whether other programs take the cores (top) or the disk is slow; otherwise give the run more cores, keep "
        "the images on a local disk, or store them smaller, with short sides of about twice the views'"
    )


def _loaders(workers: int) -> str:
    return "no process but this one" if workers == 0 else f"{workers} {'process' if workers == 1 else 'processes'}"
