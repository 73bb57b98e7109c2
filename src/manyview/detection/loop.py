"""The training loop of a detector."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing

import torch
from torch import Tensor, nn
from torch import distributed as dist

from manyview import distributed
from manyview.detection.dataset import Target
from manyview.detection.evaluate import evaluate
from manyview.detection.models import Detector
from manyview.detection.schedule import learning_rate, sampling_seed, training_indices
from manyview.detection.session import FineTuningSession
from manyview.errors import LoadingError, NonFiniteLossError
from manyview.runs.progress import StepClock
from manyview.runs.signals import StoppingError, StopRequest
from manyview.runtime import is_command, seed_generators

LOG_EVERY = 10


def run_loop(tuning: FineTuningSession) -> None:
    """Train from the current iteration to the last, with checkpoints and evaluations when they are due.

    Raises:
        UserError: a loss that is not finite, an image that cannot be read, a full disk. What was saved stays.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, after saving.
    """
    module = _distributed(tuning.detector, tuning.runtime.device)
    clock, saved_at = StepClock(), time.monotonic()
    indices = training_indices(tuning.settings, tuning.data.shapes, tuning.iteration, *tuning.rank_and_size)
    saying = None if tuning.display.console.quiet else "Stopping after this iteration, and saving"
    with (
        closing(tuning.batches(indices)) as batches,
        tuning.display,
        StopRequest(saying, may_exit=is_command()) as stop,
    ):
        while True:
            if tuning.is_due():
                tuning.save()  # an evaluation takes long, and a signal interrupts it
                evaluate(tuning, stop)
                saved_at = time.monotonic()
            if tuning.iteration == tuning.settings.iterations:
                return
            began = time.monotonic()
            losses, rate, waited = train_step(tuning, module, batches)
            clock.add(time.monotonic() - began, waited)
            _count(tuning, losses, rate, clock)
            tuning.display.update(tuning.iteration, losses, clock)
            if number := distributed.largest(stop.signal or 0):
                tuning.save()
                tuning.stop(stop, number)
            # The first process's clock decides, as it alone writes.
            if tuning.is_main and time.monotonic() - saved_at > 60 * tuning.checkpoint_minutes:
                tuning.save()
                saved_at = time.monotonic()


def train_step(
    tuning: FineTuningSession, module: nn.Module, batches: Iterator[tuple[list[Tensor], list[Target]]]
) -> tuple[dict[str, float], float, float]:
    """One step of the optimizer on this process's part of a batch.

    Returns:
        The losses, means over the processes, with their sum "loss"; the learning rate; and the seconds spent waiting
        for the loader.

    Raises:
        NonFiniteLossError: a loss is NaN or infinite; the weights are as before the step.
    """
    settings = tuning.settings
    began = time.monotonic()
    images, targets = _await_batch(tuning, batches)
    waited = time.monotonic() - began
    rate = learning_rate(settings, tuning.iteration)
    for group in tuning.optimizer.param_groups:
        group["lr"] = rate
    # PyTorch's generator draws short sides and samples: the same in a run that was interrupted.
    seed_generators(sampling_seed(settings, tuning.iteration, distributed.rank()), tuning.runtime.device)
    with tuning.runtime.autocast():
        losses = module(*tuning.arguments(images, targets))
    total = torch.stack(list(losses.values())).sum()
    numbers = _read(losses)
    _refuse_non_finite(tuning, numbers, rate)
    total.backward()  # type: ignore[no-untyped-call]
    tuning.optimizer.step()
    tuning.optimizer.zero_grad()
    tuning.iteration += 1
    return numbers, rate, waited


def _await_batch(
    tuning: FineTuningSession, batches: Iterator[tuple[list[Tensor], list[Target]]]
) -> tuple[list[Tensor], list[Target]]:
    """The next batch; the run is saved where it does not come."""
    try:
        return next(batches)
    except (LoadingError, StoppingError):
        tuning.save()
        tuning.display.say(f"Saved after iteration {tuning.iteration:,}; continue with --resume.")
        raise


def _distributed(detector: Detector, device: torch.device) -> nn.Module:
    if distributed.world_size() == 1:
        return detector
    devices = [device.index or 0] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(detector, device_ids=devices)


def _read(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """The losses as means over the processes, in one transfer from the device, and their sum."""
    names = sorted(losses)
    values = torch.stack([losses[name].detach().float() for name in names])
    if distributed.world_size() > 1:
        dist.all_reduce(values)
        values /= distributed.world_size()
    numbers = dict(zip(names, values.tolist(), strict=True))
    return {"loss": sum(numbers.values()), **numbers}


def _refuse_non_finite(tuning: FineTuningSession, losses: Mapping[str, float], rate: float) -> None:
    if losses["loss"] - losses["loss"] == 0:
        return
    values = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    raise NonFiniteLossError(
        f"the loss is not finite at iteration {tuning.iteration + 1:,} ({values}; learning rate {rate:.3g}); the last "
        "good checkpoint is kept; start anew with a smaller --learning-rate or with --precision float32"
    )


def _count(tuning: FineTuningSession, losses: Mapping[str, float], rate: float, clock: StepClock) -> None:
    """Accumulate the losses, and log their means every ``LOG_EVERY`` iterations."""
    for name, value in losses.items():
        tuning.totals[name] = tuning.totals.get(name, 0.0) + value
    tuning.counted += 1
    if tuning.iteration % LOG_EVERY and tuning.iteration != tuning.settings.iterations:
        return
    means = {name: total / tuning.counted for name, total in tuning.totals.items()}
    pace = {"seconds_per_iteration": round(clock.seconds_per_step, 4), "waiting": round(clock.waiting, 4)}
    tuning.log({"kind": "training", "learning_rate": rate, **means, **pace})
    tuning.totals, tuning.counted = {}, 0
