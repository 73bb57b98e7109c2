"""Setup of a new or resumed run, and its training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from torch import Tensor, nn

from manyview import distributed
from manyview.backbones import Backbone, LoadingReport
from manyview.backbones.weights import own_weights
from manyview.config import PretrainConfig
from manyview.config.resuming import MAY_CHANGE
from manyview.errors import MemoryUsedUpError
from manyview.images import ImageFiles
from manyview.images.loading import worker_count
from manyview.images.skipped import SkippedImages
from manyview.images.used_bits import describe_depth
from manyview.methods import Method
from manyview.runs import RunFolder, TrainingCheckpoint, provenance
from manyview.runs.checkpoints import restore
from manyview.runs.folder import BEST_RECORD
from manyview.runs.progress import run_console, spell
from manyview.runs.provenance import changed_surroundings
from manyview.runs.record import RunRecord
from manyview.runtime import resolve_device
from manyview.training.display import TrainingDisplay
from manyview.training.expected import expectation
from manyview.training.initial.network import build_backbone_of, build_method, build_trial, check_backbone
from manyview.training.initial.weights import InitialWeights, find_initial, find_initial_again, load_initial, origin
from manyview.training.loggers import check_installed, loggers_of
from manyview.training.loop import Training, remarks, run_loop
from manyview.training.monitor import CollapseMonitor
from manyview.training.optimizer import make_optimizer
from manyview.training.processes import data_facts, remarks_on_number, start_facts
from manyview.training.protection import Protection, needs_initial, risk, write_initial
from manyview.training.quality import Instrument, QualityRecord, interval, spell_plan, spell_summary
from manyview.training.restoring import initial_again, mend_weights
from manyview.training.restoring.checks import (
    check_contents,
    check_same_hardware,
    check_same_images,
    check_same_labels,
)
from manyview.training.settle import Hardware, Settled, settle, start_hardware
from manyview.training.survival.legs import record_leg, with_length
from manyview.training.survival.memory import memory_explained
from manyview.training.targets import Targets, find_labeled_images


def train(
    config: PretrainConfig,
    folder: RunFolder,
    *,
    resume: bool,
    module: nn.Module | None = None,
    instrument: Instrument | None = None,
    quiet: bool = False,
) -> None:
    """Train with a resolved configuration in a run folder.

    Args:
        config: resolved configuration.
        folder: a new or an empty folder, or with ``resume`` the folder of a run with this configuration.
        resume: continue from the newest intact checkpoint.
        module: custom backbone instead of ``config.backbone.name``, from images to feature maps.
        instrument: what measures the backbone's quality as it trains; None for a run that is not measured.
        quiet: print nothing.

    Raises:
        UserError: anything that the user can fix.
    """
    began = time.monotonic()
    record = folder.read_record(MAY_CHANGE) if resume else None
    files, targets = distributed.agree(partial(_look, config, module), partial(data_facts, config))
    hardware = start_hardware(config, record.run if record else None)
    console = run_console(hardware.is_main and not quiet)
    if resume and files.bad:  # of a new run it is announced
        console.print(files.left_out, style="yellow", highlight=False, markup=False, soft_wrap=True)
    try:
        claim = partial(_claim, config, folder, files, targets, hardware, record)
        facts = partial(start_facts, hardware.device.type, hardware.precision, module)
        checkpoint, complaints, initial = distributed.agree(claim, facts)
        if record is not None:
            config = with_length(config, folder.path, record, checkpoint.step if checkpoint else 0)
        start = _Start(config, folder, files, targets, hardware, module, instrument, record, checkpoint, initial)
        training = _prepare(start, complaints, console)
        _run(training, module, began)
        if not resume:
            _compare_hours(training, time.monotonic() - began)
    finally:
        folder.unlock()


@dataclass(frozen=True)
class _Start:
    """What a run is started with, or resumed from, before anything is built.

    Attributes:
        config: as asked for, with the earlier legs of a resumed run.
        folder: of the run.
        files: its images.
        targets: its labels, if the method learns from any.
        hardware: device, processes and precision.
        module: custom backbone, if any.
        instrument: what measures the backbone's quality, if anything does.
        record: of a resumed run.
        checkpoint: the newest intact one of a resumed run, if there is one.
        initial: the initial weights of a run without checkpoint, if it has any.
    """

    config: PretrainConfig
    folder: RunFolder
    files: ImageFiles
    targets: Targets | None
    hardware: Hardware
    module: nn.Module | None
    instrument: Instrument | None
    record: RunRecord | None
    checkpoint: TrainingCheckpoint | None
    initial: InitialWeights | None

    def settle(self, console: Console) -> Settled:
        """Determine what the configuration leaves open."""
        trial = partial(build_trial, module=self.module, hardware=self.hardware, targets=self.targets)
        with memory_explained(lambda: (self.config, 0), self.module, self.hardware.device, self.hardware.precision):
            return settle(
                *(self.config, self.files, self.initial, self.hardware),
                build=trial,
                console=console,
                targets=self.targets,
                resumed=self.folder if self.record is not None else None,
                instrument=self.instrument,
            )

    def build(self, config: PretrainConfig) -> _Built:
        """Build the method of the settled configuration, at its initial weights if it has no checkpoint."""
        backbone = build_backbone_of(config, self.module)
        for group in config.views.layout:
            backbone.check_size(group.size, group.size)
        report = load_initial(backbone, self.initial, config) if self.initial else None
        kept, lost = self._kept_initial(backbone, config)
        return _Built(build_method(backbone, config, self.hardware, self.targets), report, kept, lost)

    def _kept_initial(self, backbone: Backbone, config: PretrainConfig) -> tuple[dict[str, Tensor] | None, str]:
        """The initial weights, where training depends on them to the end, and a clause on their file if it is lost."""
        if not needs_initial(config.training):
            return None, ""
        if self.record is None or self.checkpoint is None:
            return own_weights(backbone), ""
        return initial_again(backbone, config, self.folder, self.record)


class _Built(NamedTuple):
    """A method, built on the device.

    Attributes:
        method: the method.
        report: what of the initial weights matched, if they were loaded.
        initial: the backbone's initial weights, where training depends on them to the end.
        lost: a clause on their file if it has to be written again; "" if not.
    """

    method: Method
    report: LoadingReport | None
    initial: dict[str, Tensor] | None
    lost: str


def _prepare(start: _Start, complaints: Sequence[str], console: Console) -> Training:
    """The state of a new run before its first step, whose folder is made, or of a resumed one at its checkpoint.

    Args:
        start: what it starts with.
        complaints: messages about damaged files of a resumed run.
        console: console for messages.
    """
    settled = start.settle(console)
    built = start.build(settled.config)
    folder, hardware, resume = start.folder, start.hardware, start.record is not None
    if hardware.is_main and built.lost:
        write_initial(built.method.backbone, folder)
    if hardware.is_main and not resume:
        folder.create()
    changes = check_contents(start.config, folder, start.files, hardware, resume=resume)
    training = set_up(settled, start.files, folder, built.method, console, built.initial)
    training.record = start.record
    training.labels_fingerprint = start.targets.fingerprint if start.targets else None
    training.quality = _quality_record(settled, start.instrument)
    if resume:
        for complaint in (*complaints, *([built.lost] if built.lost else [])):
            training.display.say(f"Warning: {complaint}", style="yellow")
        if changes:
            training.display.say(changes, style="yellow")
        _take_up(training, start.checkpoint)
    else:
        _announce(training, start.initial, built.report, start.targets)
    if hardware.is_main and start.checkpoint is None and built.initial is not None:
        write_initial(built.method.backbone, folder)
    if training.files.bad:
        training.skipped.write()
    hardware.fabric.barrier()
    return training


def _quality_record(settled: Settled, instrument: Instrument | None) -> QualityRecord | None:
    """The record of the backbone's measurements, as yet empty; None for a run that is not measured."""
    if instrument is None:
        return None
    config, steps = settled.config, settled.plan.steps
    every = interval(config, steps, instrument.pixels)
    return QualityRecord(config.monitor, steps, every, instrument, config.training.freeze_backbone_steps)


def _look(config: PretrainConfig, module: nn.Module | None) -> tuple[ImageFiles, Targets | None]:
    """Find the images and their labels; check the device and the backbone, too, before processes wait for each other.

    Raises:
        UserError: anything that the user can fix.
    """
    found = find_labeled_images(config)
    resolve_device(config.training.device, "training.device")
    check_installed(config.monitor.loggers)
    check_backbone(config, module)
    return found


def _claim(
    config: PretrainConfig,
    folder: RunFolder,
    files: ImageFiles,
    targets: Targets | None,
    hardware: Hardware,
    record: RunRecord | None,
) -> tuple[TrainingCheckpoint | None, list[str], InitialWeights | None]:
    """Check that the folder can hold the run, before anything slow, and lock that of a resumed run.

    Args:
        config: of the run.
        folder: of the run.
        files: its images.
        targets: its labels, if any.
        hardware: device, processes and precision.
        record: of a resumed run.

    Returns:
        the newest intact checkpoint of a resumed run, if there is one; messages about damaged files; and the initial
        weights of a run without checkpoint, if it has any.
    """
    if record is None:
        folder.check_new()
        return None, [], find_initial(config)
    check_same_images(folder, record.run, files.fingerprint(), targets)
    check_same_hardware(folder, record.run, hardware)
    mended: list[str] = []
    if hardware.is_main:
        folder.lock()
        mended = folder.mend_record(MAY_CHANGE)
    checkpoint, damaged = folder.checkpoints.load_newest()
    initial = find_initial_again(config, folder, record.run) if checkpoint is None else None
    return checkpoint, [*mended, *(f"{each}; using the previous one" for each in damaged)], initial


def set_up(
    settled: Settled,
    files: ImageFiles,
    folder: RunFolder,
    method: Method,
    console: Console,
    initial: Mapping[str, Tensor] | None = None,
) -> Training:
    """Build the training state at the first step.

    Args:
        settled: settled run.
        files: its images.
        folder: its folder; nothing is written yet.
        method: method on the device.
        console: console for messages.
        initial: the backbone's initial weights, where training depends on them.
    """
    config = settled.config
    return Training(
        settled=settled,
        files=files,
        folder=folder,
        method=method,
        optimizer=make_optimizer(method, config),
        protection=Protection(method, config.training, initial),
        monitor=CollapseMonitor(config.monitor, method.remedies(config)),
        skipped=SkippedImages(
            files,
            config.data.max_bad_fraction,
            folder.skipped_file,
            "data.max_bad_fraction",
            resume=True,
            writes=settled.hardware.is_main,
        ),
        display=TrainingDisplay(settled.plan.steps, settled.plan.epochs, console=console),
        description={"recipe": config.recipe, "method": config.method.name},
    )


def _announce(
    training: Training, initial: InitialWeights | None, report: LoadingReport | None, targets: Targets | None
) -> None:
    """Write ``run.json`` and ``config.json``, and print the initial weights and the labels."""
    about = None
    if training.files.left_out:
        training.display.say(training.files.left_out, style="yellow")
    if training.files.note:
        training.display.say(training.files.note)
    if training.is_main and (sentence := _range(training)):
        training.display.say(sentence, style="yellow")
    if targets is not None:
        training.display.say(f"Labels to learn from: {targets}.")
    if initial and report:
        backbone = training.method.backbone
        for sentence in initial.sentences(report, backbone):
            training.display.say(sentence)
        about = initial.describe(report)
        training.description |= origin(about)
        warning = risk(backbone, training.settled.config.training)
        if warning:
            training.display.say(warning, style="yellow")
    if training.is_main:
        _describe(training, about)


def _range(training: Training) -> str:
    """What is wrong with the range of values in 16-bit files; bands are normalized by what is measured on them."""
    data = training.settled.config.data
    if data.bands != "rgb":
        return ""
    threads = max(1, worker_count(data.workers))
    return describe_depth(training.files, data.bit_depth, max_pixels=data.max_pixels, threads=threads)


def _describe(training: Training, initial: dict[str, Any] | None) -> None:
    """Write ``run.json``, then ``config.json``, which marks the folder as a run."""
    settled, plan, folder = training.settled, training.settled.plan, training.folder
    labels = {"labels_sha256": training.labels_fingerprint} if training.labels_fingerprint else {}
    about = {
        **provenance(),
        "asked": settled.asked.model_dump(mode="json"),
        "plan": {
            "photographs": plan.images,
            "steps": plan.steps,
            "steps_per_epoch": plan.steps_per_epoch,
            "views_per_step": plan.views_per_step,
            "learning_rate": settled.config.learning_rate,
        },
        "data": {"photographs": len(training.files), "fingerprint": training.files.fingerprint(), **labels},
        **({"init": initial} if initial else {}),
        **({"quality": training.quality.instrument.describe()} if training.quality else {}),
        "method": training.method.describe(settled.config),
        **settled.hardware.describe(),
    }
    training.record = RunRecord(about, settled.config.model_dump(mode="json"), MAY_CHANGE)
    folder.write_record(training.record)


def _take_up(training: Training, checkpoint: TrainingCheckpoint | None) -> None:
    """Restore a checkpoint, or start from the first step if none was written."""
    assert training.record is not None, "of a resumed run"
    training.description |= origin(training.record.run.get("init"))
    if sentence := changed_surroundings(training.record.run):
        training.display.say(sentence, style="yellow")
    if checkpoint is None:
        training.display.say("No checkpoint was written yet; starting from the first step.")
    else:
        restore(checkpoint, training.method, training.optimizer)
        training.step = checkpoint.step
        training.totals = dict(checkpoint.state["totals"])
        training.monitor.restore(checkpoint.state["monitor"])
        training.display.start = checkpoint.step
        training.skipped.reasons = dict(checkpoint.state.get("skipped", training.skipped.reasons))
        training.display.say(f"Resumed after step {checkpoint.step:,} of {training.settled.plan.steps:,}.")
    if training.is_main and (sentence := training.folder.drop_metrics_after(training.step)):
        training.display.say(f"Warning: {sentence}.", style="yellow")
    logged = distributed.from_first(training.folder.read_metrics)
    training.worked = logged[-1].get("elapsed", 0.0) if logged else 0.0  # earlier versions did not record it
    record_leg(training)
    if training.quality is not None:
        check_same_labels(training.folder, training.record.run, training.quality.instrument.describe())
        training.quality.resume(logged, checkpoint.state.get("quality", []) if checkpoint else [])
        training.keep_best()  # if the run was killed before it was written
    if training.is_main and checkpoint is not None:
        training.skipped.write()
        mend_weights(training)


def _run(training: Training, module: nn.Module | None, began: float) -> None:
    first = training.step
    before = training.record.run.get("processes") if training.record else None
    number = remarks_on_number(training.method, before, training.settled.hardware.processes)
    for remark in (*number, *remarks(training.settled)):
        training.display.say(remark, style="yellow")
    plan = training.settled.plan
    expected = expectation(training.settled.config, plan.steps * plan.views_per_step)
    if expected and training.step == 0:
        training.display.say(expected)
    if training.quality is not None:
        training.display.say(spell_plan(training.quality))
    settled, warn = training.settled, partial(training.display.say, style="yellow")
    is_main = training.is_main
    try:
        with (
            memory_explained(
                lambda: (settled.config, training.step), module, settled.hardware.device, settled.hardware.precision
            ),
            loggers_of(settled.config, training.folder.path, first, warn, enabled=is_main) as training.loggers,
        ):
            run_loop(training)
    except MemoryUsedUpError:
        if training.is_main and training.step == 0:
            training.folder.discard()
        raise
    _report(training, training.step - first, time.monotonic() - began)


def _report(training: Training, steps: int, seconds: float) -> None:
    """Print the summary of a finished run, whose last steps took some seconds."""
    count = training.skipped.count
    if count:
        training.display.say(
            f"{count:,} of {len(training.files):,} images could not be read and were replaced; "
            f"see {training.folder.skipped_file}",
            style="yellow",
        )
    if training.quality is not None and (summary := training.quality.summary()):
        if training.is_main:
            training.folder.write_json(BEST_RECORD, summary)
        training.display.say(spell_summary(summary))
    done = f"{training.step:,} steps"
    if 0 < steps < training.step:
        done += f", the last {steps:,} in {spell(seconds)}"
    elif steps:
        done += f" in {spell(seconds)}"
    training.display.say(f"Done: {done}. The weights are in {training.folder.weights}; to use them:")
    backbone = training.method.backbone
    training.display.say(loading_lines(training.folder.weights, backbone.name, backbone.in_channels))


def _compare_hours(training: Training, seconds: float) -> None:
    """Print how long the run took, if it was to take some hours."""
    hours = training.settled.asked.training.hours
    if hours is not None:
        training.display.say(f"It took {spell(seconds)} of the {spell(3600 * hours)} asked for.")


def loading_lines(weights: Path, backbone: str, in_channels: int) -> str:
    """Python code that loads the weights, for the user to copy."""
    if backbone.startswith("own:"):
        return (
            "from safetensors.torch import load_file\n"
            f"module.load_state_dict(load_file({str(weights)!r}))  # your {backbone.removeprefix('own:')}"
        )
    lines = [
        "import manyview",
        f"backbone = manyview.load_backbone({str(weights.parent)!r})  "
        f"# (B, {in_channels}, H, W) -> (B, D, h, w), in eval mode",
    ]
    if not backbone.startswith("timm/"):
        first = f"network.conv1 = torch.nn.Conv2d({in_channels}, 64, kernel_size=7, stride=2, padding=3, bias=False)"
        lines += [
            "# or, without manyview:",
            *(["import torch"] if in_channels != 3 else []),
            "import torchvision",
            "from safetensors.torch import load_file",
            f"network = torchvision.models.{backbone}()",
            *([first] if in_channels != 3 else []),
            f"network.load_state_dict(load_file({str(weights)!r}), strict=False)  # all but fc",
        ]
    return "\n".join(lines)
