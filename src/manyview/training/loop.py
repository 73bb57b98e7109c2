"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from manyview.backbones import save_backbone
from manyview.backbones.norm_statistics import norms_are_new
from manyview.config import PretrainConfig
from manyview.distributed import any_process, gather, largest, mean_of_processes, wait_for_all
from manyview.errors import NonFiniteLossError
from manyview.fabric import Fabric
from manyview.images import ImageFiles
from manyview.images.skipped import SkippedImages
from manyview.measures import collapse_std, effective_rank
from manyview.methods import Method, Moment
from manyview.runs import RunFolder, atomic_write
from manyview.runs.checkpoints import capture
from manyview.runs.progress import StepClock, spell
from manyview.runs.record import RECORD_SUM, RunRecord
from manyview.runs.signals import StoppingError, StopRequest
from manyview.runtime import is_command, seed_generators
from manyview.training.data import TrainingBatch, method_batch, start_loader
from manyview.training.device_views import DeviceViews
from manyview.training.display import TrainingDisplay
from manyview.training.loggers import Loggers
from manyview.training.monitor import CollapsedError, CollapseMonitor, Reading
from manyview.training.optimizer import (
    clip_gradients,
    learning_rate,
    set_learning_rate,
    set_weight_decay,
    weight_decay,
)
from manyview.training.pace import WAITING_TOO_MUCH, waiting_advice
from manyview.training.plan import BatchPlan
from manyview.training.protection import Protection
from manyview.training.quality import QualityRecord, spell_record
from manyview.training.settle import Settled, is_wrong_in_bf16
from manyview.training.survival.save_point import SavePoint

_LOG_EVERY = 10
# The first step allocates memory and compiles kernels; the time of the run is estimated from the steps after it.
_STEPS_MEASURED = 3
# With so few positive pairs in a step, the linear rule leaves a quarter of the base learning rate at most.
_FEW_PAIRS = 64
# Steps after which it is judged whether the loader keeps up: the first ones have left the clock's window.
_WAITS_JUDGED = 60
_STOPPING = "Stopping after this step, and saving"


@dataclass
class Training:
    """State of the training loop.

    Attributes:
        step: optimizer steps done.
        totals: sums of this epoch's losses, for their means.
        record: what decides how the run is resumed; checkpoints have its SHA-256.
        labels_fingerprint: SHA-256 of the labels that the method learns from, if any.
        quality: measurements of the backbone; None for a run that is not measured.
        worked: seconds that earlier processes of a resumed run worked on the steps that are kept.
        began: when this process took up the work, on ``time.monotonic``.
    """

    settled: Settled
    files: ImageFiles
    folder: RunFolder
    method: Method
    optimizer: torch.optim.Optimizer
    protection: Protection
    monitor: CollapseMonitor
    skipped: SkippedImages
    display: TrainingDisplay
    description: dict[str, str]
    record: RunRecord | None = None
    labels_fingerprint: str | None = None
    quality: QualityRecord | None = None
    loggers: Loggers | None = None
    step: int = 0
    totals: dict[str, float] = field(default_factory=dict)
    worked: float = 0.0
    began: float = field(default_factory=time.monotonic)

    @property
    def fabric(self) -> Fabric:
        """Lightning Fabric: device, processes and precision."""
        return self.settled.hardware.fabric

    @property
    def epoch(self) -> int:
        """Epoch of the next step, from 0."""
        return self.step // self.settled.plan.steps_per_epoch

    @property
    def moment(self) -> Moment:
        """How far the run is before the next step."""
        per_epoch = self.settled.plan.steps_per_epoch
        steps = self.settled.config.training.leg_at(self.step).total_steps(per_epoch)
        return Moment(self.step, steps, per_epoch)

    @property
    def helps_no_more(self) -> bool:
        """Whether the run ends early: ``monitor.eval_patience`` measurements in a row were no better."""
        return self.quality is not None and self.quality.exhausted

    @property
    def is_measured_now(self) -> bool:
        """Whether the backbone is to be measured after this step."""
        return self.quality is not None and self.quality.is_due(self.step)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.settled.hardware.is_main

    def save(self) -> None:
        """Write a checkpoint and the backbone's weights."""
        if self.is_main:
            checkpoint = capture(self.method, self.optimizer, self.step, self.monitor.healthy, self._state())
            # Weights first: a run killed between the two resumes from the previous checkpoint and writes them again.
            self.save_weights()
            self.folder.checkpoints.save(checkpoint)

    def save_weights(self) -> None:
        """Write the backbone's weights, in the main process."""
        metadata = {**self.description, **self.protection.metadata(), "step": str(self.step)}
        save_backbone(self.protection.written_backbone(), self.folder.weights, metadata)

    def _state(self) -> dict[str, Any]:
        """Plain data of a checkpoint, which outlives damage to the files that hold some of it too."""
        return {
            "monitor": self.monitor.state(),
            "totals": self.totals,
            "skipped": dict(sorted(self.skipped.reasons.items())),
            **({"quality": self.quality.state()} if self.quality else {}),
            **({RECORD_SUM: self.record.sha256} if self.record else {}),
        }

    def keep_best(self) -> None:
        """Write the weights if they are the best so far; after the checkpoint of this step."""
        if self.is_main and self.quality is not None:
            description = {**self.description, **self.protection.metadata()}
            self.quality.keep(self.protection.written_backbone(), self.folder, self.step, description)

    def log(self, record: dict[str, Any]) -> None:
        """Add a record to ``metrics.jsonl`` and to the loggers."""
        if self.is_main:
            elapsed = self.worked + time.monotonic() - self.began
            line = {"step": self.step, **record, "elapsed": round(elapsed, 2)}
            self.folder.append_metrics(line)
            if self.loggers is not None:
                self.loggers.add(line)


def run_loop(training: Training) -> None:
    """Train from the current state to the end of the run.

    Raises:
        UserError: too many unreadable images, a loss that is not finite, a collapse, a full disk, memory that runs out.
            What was saved before stays.
        LostError: a loader process or another process of the run was lost; after saving, where the state allows it.
        KeyboardInterrupt, SystemExit: a signal that asks for a stop, after saving.
    """
    training.method.train()
    module, optimizer = training.fabric.setup(training.method, training.optimizer)
    plan, config = training.settled.plan, training.settled.config
    batch_plan = BatchPlan(plan, training.step, training.fabric.global_rank, training.fabric.world_size)
    device = training.fabric.device
    loaded = start_loader(training.files, config, batch_plan, pin=device.type == "cuda")
    progress = _Progress(training)
    with (
        closing(DeviceViews(loaded, training.files, config, device)) as batches,
        training.display,
        StopRequest(None if training.display.console.quiet else _STOPPING, may_exit=is_command()) as stop,
    ):
        point = SavePoint(training.method, training.save, training.display.say, lambda: training.step)
        point.mark()
        with point.kept():
            _measure_or_stop(training, stop)
        while training.step < plan.steps and not training.helps_no_more:
            with point.kept():
                collapse = _step(training, module, optimizer, batches, progress, stop, point)
                if collapse:
                    raise collapse
                number = largest(stop.signal or 0)
            if number and training.step < plan.steps:
                training.save()
                training.display.say(f"Stopped and saved after step {training.step:,}; continue with --resume.")
                wait_for_all()  # as the first process is killed soon after another has ended, by torchrun and others
                stop.act(number)


class _Progress:
    """What is known of the time that steps take.

    Attributes:
        clock: of the recent steps.
        saved_at: when the last checkpoint was written.
    """

    def __init__(self, training: Training) -> None:
        self.clock, self.saved_at = StepClock(), time.monotonic()
        self._minutes = training.settled.config.training.checkpoint_minutes
        self._steps = 0
        self._announced = self._waits_said = False

    @property
    def saving_is_due(self) -> bool:
        """Whether the last checkpoint is older than ``training.checkpoint_minutes``."""
        return time.monotonic() - self.saved_at > 60 * self._minutes

    def announce(self, training: Training) -> None:
        """After each step: say once how long the run will take, and once if it waits for its data."""
        if not self._announced and self.clock.count > min(_STEPS_MEASURED, training.settled.plan.steps - 1):
            self._announced = True
            training.display.say(announcement(training.settled, training.step, self.clock))
        self._steps += 1
        if not self._waits_said and self._steps >= _WAITS_JUDGED and self.clock.waiting > WAITING_TOO_MUCH:
            self._waits_said = True
            settled = training.settled
            advice = waiting_advice(settled.config, settled.hardware.device.type, self.clock.waiting)
            training.display.say(advice, style="yellow")


def _step(
    training: Training,
    module: Any,
    optimizer: Any,
    batches: Iterator[TrainingBatch],
    progress: _Progress,
    stop: StopRequest,
    point: SavePoint,
) -> CollapsedError | None:
    """One optimizer step with all that follows it; a persistent collapse is returned, to be raised after saving."""
    plan, config = training.settled.plan, training.settled.config
    clock, began, epoch = progress.clock, time.monotonic(), training.epoch
    rate = learning_rate(config, training.step, plan.steps_per_epoch)
    set_learning_rate(optimizer, rate)
    set_weight_decay(optimizer, weight_decay(config, training.step, plan.steps_per_epoch))
    losses, z, waited = train_step(training, module, optimizer, batches, stop=stop, point=point)
    training.step += 1
    clock.add(time.monotonic() - began, waited)
    for name, value in losses.items():
        training.totals[name] = training.totals.get(name, 0.0) + value
    reading, collapse = _watch(training, z)
    if training.step % _LOG_EVERY == 0 or reading:
        pace = _pace(plan.views_per_step, clock)
        training.log({"kind": "step", "epoch": epoch, "learning_rate": rate, **losses, **_numbers(reading), **pace})
    progress.announce(training)
    training.display.update(training.step, epoch, losses["loss"], plan.views_per_step, clock)
    if training.step % plan.steps_per_epoch == 0 or training.step == plan.steps:
        _end_epoch(training, epoch, rate, z, clock)
        progress.saved_at = time.monotonic()
    elif training.is_measured_now or collapse or progress.saving_is_due:
        training.save()  # before a measurement, which takes long, and which a signal interrupts
        progress.saved_at = time.monotonic()
    point.mark()
    _measure_or_stop(training, stop)
    if training.helps_no_more:
        training.display.say(f"Ended after step {training.step:,}: no better for monitor.eval_patience measurements.")
    return collapse


def _measure_or_stop(training: Training, stop: StopRequest) -> None:
    """Measure the backbone if it is due; in a single process, a stop does not wait for it.

    Raises:
        KeyboardInterrupt, SystemExit: a stop is requested; the checkpoint of this step is there, if there were steps.
    """
    if not training.is_measured_now:
        return
    try:
        with stop.acting_at_once(training.fabric.world_size == 1):
            _measure_quality(training)
            training.keep_best()
    except (KeyboardInterrupt, SystemExit):
        training.display.say(f"Stopped after step {training.step:,}; continue with --resume.")
        raise


def _measure_quality(training: Training) -> None:
    """Measure the backbone, on all processes together; the loss and the weights do not notice."""
    quality, step = training.quality, training.step
    assert quality is not None, "measurements are due only with an instrument"
    backbone = training.protection.written_backbone()
    with torch.random.fork_rng(devices=[]):
        record = quality.measure(backbone, step, measured_norms=step == 0 and norms_are_new(backbone))
    training.log(record)
    training.display.quality_measured(step, spell_record(record), record["seconds"])


def train_step(
    training: Training,
    module: Any,
    optimizer: Any,
    batches: Iterator[TrainingBatch],
    *,
    stop: StopRequest | None = None,
    point: SavePoint | None = None,
) -> tuple[dict[str, float], Tensor, float]:
    """One optimizer step over ``accumulate`` batches.

    The host synchronizes with the device once per batch, for the losses, but not for the backward pass, during which
    the next batch is prepared.

    Args:
        training: state of the run.
        module: its method, as Fabric wraps it.
        optimizer: its optimizer, as Fabric wraps it.
        batches: of the loader, on the device.
        stop: a requested stop, which does not wait for all batches of the step.
        point: what undoes the step if it fails.

    Returns:
        mean losses, the last batch's z (pairs, dim), and the seconds spent waiting for the loader.

    Raises:
        NonFiniteLossError: the loss of a batch is NaN or infinite; the weights are unchanged by the step.
        UserError: too many images cannot be read.
        StoppingError: a stop is requested, on any process, and the step has further batches.
    """
    config = training.settled.config
    accumulate, waited = config.training.accumulate, 0.0
    means: dict[str, float] = {}
    # Random layers (dropout, stochastic depth) draw the same numbers in a resumed run.
    seed = _step_seed(config.training.seed, training.step, training.fabric.global_rank)
    seed_generators(seed, training.fabric.device)
    training.protection.before_step(training.step)
    for part in range(accumulate):
        if part and stop is not None and (number := largest(stop.signal or 0)):
            raise StoppingError(number)
        began = time.monotonic()
        batch = next(batches)
        waited += time.monotonic() - began
        training.skipped.add(*_skipped_anywhere(training.fabric, batch))
        seen = method_batch(batch, training.method, config.training.seed, training.moment, part)
        with training.fabric.no_backward_sync(module, enabled=part < accumulate - 1):
            result = module(seen)
            losses = _means_on_host(result)
            _refuse_non_finite(training, losses["loss"], batch)
            training.fabric.backward(result["loss"] / accumulate)
        for name, value in losses.items():
            means[name] = means.get(name, 0.0) + value / accumulate
    if point is not None:
        point.leave()
    training.protection.after_backward(training.step)
    training.method.after_backward(training.moment)
    if config.training.clip_norm is not None:
        clip_gradients(training.method.parameters(), config.training.clip_norm)
    optimizer.step()
    optimizer.zero_grad()
    training.method.after_step(training.moment)
    return dict(sorted(means.items())), result["z"], waited


def _means_on_host(result: Mapping[str, Tensor]) -> dict[str, float]:
    """Means of the losses over all processes, on the host, in one transfer."""
    names = sorted(result.keys() - {"z"})
    losses = torch.stack([result[name].detach() for name in names])
    return dict(zip(names, mean_of_processes(losses).tolist(), strict=True))


def announcement(settled: Settled, steps_done: int, clock: StepClock) -> str:
    """Message with the size of the run, its learning rate, and its estimated duration."""
    seconds = (settled.plan.steps - steps_done) * clock.seconds_per_step
    return (
        f"{settled.plan.images:,} images: {settled.plan}; {spell_rate(settled.config)}; "
        f"about {spell(seconds)} left at the pace of the first steps"
    )


def remarks(settled: Settled) -> list[str]:
    """What is unusual about a run: remarks of the plan and of the method, a tiny learning rate."""
    config, plan = settled.config, settled.plan
    found = [*plan.remarks, *config.method.remarks(config, plan.steps / plan.steps_per_epoch)]
    if settled.hardware.precision == "bf16" and is_wrong_in_bf16(config, settled.hardware.device):
        found.append(
            "In bf16 on a CPU, strided convolutions on maps of one pixel, which small views lead to, get wrong "
            "gradients; training.precision=float32 is safe."
        )
    if config.training.scaling == "linear" and config.pairs_per_step <= _FEW_PAIRS:
        found.append(
            f"At {config.pairs_per_step:,} pairs a step the linear rule gives a small {spell_rate(config)}; it is "
            "SimSiam's, for large batches. training.scaling=sqrt gives more, training.base_learning_rate any."
        )
    return found


def spell_rate(config: PretrainConfig) -> str:
    """The learning rate and where it comes from."""
    training = config.training
    rules = {"linear": " x {} pairs / 256", "sqrt": " x sqrt({} pairs / 256)", "none": ""}
    rule = rules[training.scaling].format(f"{config.pairs_per_step:,}")
    return (
        f"learning rate {config.learning_rate:.4g} = {training.base_learning_rate:g}{rule} "
        f"(training.scaling={training.scaling})"
    )


def _refuse_non_finite(training: Training, loss: float, batch: TrainingBatch) -> None:
    if math.isfinite(loss):
        return
    names = [training.files[int(image)] for image in gather(batch.image_ids)]
    file = training.folder.path / "nonfinite_batch.txt"
    if training.is_main:
        atomic_write(file, "\n".join(names) + "\n")
    raise NonFiniteLossError(
        f"the loss is {loss} at step {training.step + 1:,}; the images of that batch are listed in {file}, the "
        "last good checkpoint is kept; check them, or restart with a smaller training.base_learning_rate"
        " or training.precision=float32"
    )


def _watch(training: Training, z: Tensor) -> tuple[Reading | None, CollapsedError | None]:
    """Check for collapse if due, equally on all processes; a persistent collapse is returned, to be raised later."""
    if not training.monitor.is_due(training.step):
        return None, None
    try:
        reading = training.monitor.measure(gather(z), training.step)
    except CollapsedError as collapse:
        return collapse.reading, collapse
    if reading.warning:
        training.display.say("Warning: " + reading.warning, style="yellow")
    return reading, None


def _end_epoch(training: Training, epoch: int, rate: float, z: Tensor, clock: StepClock) -> None:
    """Log the epoch's mean losses and collapse measures; write checkpoint and weights."""
    steps = _steps_summed(training, epoch)
    means = {name: total / steps for name, total in training.totals.items()}
    training.totals = {}
    z = gather(z)
    std, rank = collapse_std(z), effective_rank(z)
    pace = _pace(training.settled.plan.views_per_step, clock)
    training.log({"kind": "epoch", "epoch": epoch, "learning_rate": rate, **means, "std": std, "rank": rank, **pace})
    left = (training.settled.plan.steps - training.step) * clock.seconds_per_step
    training.display.epoch_done(epoch, means["loss"], std, rank, left)
    training.save()


def _steps_summed(training: Training, epoch: int) -> int:
    """Number of steps in ``totals`` at the end of an epoch, which an earlier leg may have ended within."""
    plan, settings = training.settled.plan, training.settled.config.training
    begun = epoch * plan.steps_per_epoch
    for leg in settings.legs:
        if leg.until == settings.leg_at(leg.until - 1).total_steps(plan.steps_per_epoch) < training.step:
            begun = max(begun, leg.until)
    return training.step - begun


def _pace(views_per_step: int, clock: StepClock) -> dict[str, float]:
    """Views a second, and the share of the time spent waiting for data, over the recent steps."""
    views_per_second = views_per_step / clock.seconds_per_step
    return {"views_per_second": round(views_per_second, 1), "waiting": round(clock.waiting, 4)}


def _numbers(reading: Reading | None) -> dict[str, float]:
    return {"std": reading.std, "rank": reading.rank} if reading else {}


def _skipped_anywhere(fabric: Fabric, batch: TrainingBatch) -> tuple[list[tuple[int, str]], bool]:
    """Unreadable images in the batches of all processes, and whether all of them were replaced."""
    if fabric.world_size == 1 or not any_process(bool(batch.skipped)):
        return batch.skipped, batch.complete
    parts: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(parts, (batch.skipped, batch.complete))
    return [entry for skipped, _ in parts for entry in skipped], all(complete for _, complete in parts)


def _step_seed(seed: int, step: int, rank: int) -> int:
    return (seed * 1_000_003 + step * 8_191 + rank) % 2**63
