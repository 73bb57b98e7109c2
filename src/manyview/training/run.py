"""Setup of a new or resumed run, and its training."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from manyview import distributed, methods
from manyview.backbones import Backbone, LoadingReport, build_backbone, wrap_backbone
from manyview.backbones.build import check_name
from manyview.backbones.weights import own_weights
from manyview.config import PretrainConfig
from manyview.config.resuming import MAY_CHANGE
from manyview.errors import MemoryUsedUpError, UserError
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
from manyview.training.display import Curves, TrainingDisplay
from manyview.training.expected import expectation
from manyview.training.init_weights import InitialWeights, find_initial, find_initial_again, load_initial, origin
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
from manyview.training.survival.memory import told
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
        checkpoint, complaints, initial = distributed.agree(
            claim, partial(start_facts, hardware.device.type, hardware.precision, module)
        )
        if record is not None:
            config = with_length(config, folder.path, record, checkpoint.step if checkpoint else 0)
        trial = partial(build_trial, module=module, hardware=hardware, targets=targets)
        resumed = folder if resume else None
        asked = config
        with told(lambda: (asked, 0), module, hardware.device, hardware.precision):
            settled = settle(
                *(config, files, initial, hardware),
                build=trial,
                console=console,
                targets=targets,
                resumed=resumed,
                instrument=instrument,
            )
        backbone = build_backbone_of(settled.config, module)
        for group in settled.config.views.layout:
            backbone.check_size(group.size, group.size)
        report = load_initial(backbone, initial, settled.config) if initial else None
        start, lost = _initial_tensors(backbone, settled.config, folder, record if checkpoint else None)
        method = build_method(backbone, settled.config, hardware, targets)
        if lost:
            complaints.append(lost)
            if hardware.is_main:
                write_initial(method.backbone, folder)
        if hardware.is_main and not resume:
            folder.create()
        changes = check_contents(config, folder, files, hardware, resume=resume)
        training = set_up(settled, files, folder, method, console, start)
        training.record = record
        training.labels_fingerprint = targets.fingerprint if targets else None
        if instrument is not None:
            every = interval(settled.config, settled.plan.steps, instrument.pixels)
            training.quality = QualityRecord(
                *(settled.config.monitor, settled.plan.steps, every, instrument),
                frozen=settled.config.training.freeze_backbone_steps,
            )
        if resume:
            for complaint in complaints:
                training.display.say(f"Warning: {complaint}", style="yellow")
            if changes:
                training.display.say(changes, style="yellow")
            _take_up(training, checkpoint)
        else:
            _announce(training, initial, report, targets)
        if hardware.is_main and checkpoint is None and start is not None:
            write_initial(method.backbone, folder)
        if training.files.bad:
            training.skipped.write()
        hardware.fabric.barrier()
        _run(training, module)
        if not resume:
            _compare_hours(training, time.monotonic() - began)
    finally:
        folder.unlock()


def _look(config: PretrainConfig, module: nn.Module | None) -> tuple[ImageFiles, Targets | None]:
    """Find the images and their labels; check the device and the backbone, too, before processes wait for each other.

    Raises:
        UserError: anything that the user can fix.
    """
    found = find_labeled_images(config)
    resolve_device(config.training.device, "training.device")
    _check_backbone(config, module)
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


def _check_backbone(config: PretrainConfig, module: nn.Module | None) -> None:
    """Reject a backbone that cannot be built, before anything is measured."""
    name = config.backbone.name
    if module is None and name.startswith("own:"):
        raise UserError(
            f"the backbone is {name.removeprefix('own:')}, a module of your own: "
            "call manyview.pretrain(..., backbone=module) from Python"
        )
    if module is None:
        check_name(name)
    else:
        wrap_backbone(module, config.views.layout[0].size, config.data.channels)


def build_backbone_of(config: PretrainConfig, module: nn.Module | None = None) -> Backbone:
    """Build the backbone of a settled configuration, initialized from the run's seed.

    Args:
        config: settled configuration.
        module: custom backbone instead of a named one, which is wrapped as it is.

    Raises:
        UserError: a patch projection is to be frozen that the network does not have.
    """
    torch.manual_seed(config.training.seed)
    options, channels = config.backbone, config.data.channels
    if module is not None:
        backbone = wrap_backbone(module, config.views.layout[0].size, channels)
    else:
        backbone = build_backbone(options.name, zero_init_residual=options.zero_init_residual, in_channels=channels)
    if options.freeze_patch_projection:
        _freeze_patch_projection(backbone)
    return backbone


def _freeze_patch_projection(backbone: Backbone) -> None:
    """Leave the patch projection as it is, which keeps the training of transformers stable (arXiv 2104.02057, 4.2).

    Raises:
        UserError: the network has none.
    """
    if backbone.patch_projection is None:
        raise UserError(
            f"backbone.freeze_patch_projection is for vision transformers, but {backbone.name} has no patch_embed.proj;"
            " leave it out"
        )
    backbone.patch_projection.requires_grad_(False)


def build_method(
    backbone: Backbone, config: PretrainConfig, hardware: Hardware, targets: Targets | None = None
) -> Method:
    """Build the method of a settled configuration around a backbone, on the device, with the labels of the run."""
    views = config.views
    assert views.mean is not None, "settle() fills it in"
    assert views.std is not None, "settle() fills it in"
    backbone.take_images(views.mean, views.std, rgb=config.data.bands == "rgb")
    backbone.bit_depth = config.data.bit_depth
    method = methods.build_method(backbone, config)
    if hardware.processes > 1:
        method.synchronize_norms()
    method.to(device=hardware.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if targets is not None:
        method.take_targets(targets.values.to(hardware.device))
    if config.training.compile:
        method.backbone.compile()
    return method


def build_trial(
    config: PretrainConfig, *, module: nn.Module | None, hardware: Hardware, targets: Targets | None = None
) -> Method:
    """Build a method for measurements; a custom backbone is copied."""
    return build_method(build_backbone_of(config, copy.deepcopy(module)), config, hardware, targets)


def _initial_tensors(
    backbone: Backbone, config: PretrainConfig, folder: RunFolder, resumed: RunRecord | None
) -> tuple[dict[str, Tensor] | None, str]:
    """The initial weights, where training depends on them to the end: the backbone's, or those of a resumed run.

    Returns:
        the weights, and a clause on their file if it has to be written again.
    """
    if not needs_initial(config.training):
        return None, ""
    return initial_again(backbone, config, folder, resumed) if resumed else (own_weights(backbone), "")


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
        monitor=CollapseMonitor(config.monitor, method.advice),
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


def _run(training: Training, module: nn.Module | None = None) -> None:
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
    training.curves = Curves(training.folder.path, training.step, enabled=training.is_main)
    settled = training.settled
    try:
        with told(lambda: (settled.config, training.step), module, settled.hardware.device, settled.hardware.precision):
            run_loop(training)
    except MemoryUsedUpError:
        if training.is_main and training.step == 0:
            training.folder.discard()
        raise
    finally:
        training.curves.close()
    _report(training)


def _report(training: Training) -> None:
    """Print the summary of a finished run."""
    count = training.skipped.count
    if count:
        training.display.say(
            f"{count:,} of {len(training.files):,} images could not be read and were replaced; "
            f"see {training.folder.path / 'skipped.csv'}",
            style="yellow",
        )
    if training.quality is not None and (summary := training.quality.summary()):
        if training.is_main:
            training.folder.write_json(BEST_RECORD, summary)
        training.display.say(spell_summary(summary))
    training.display.say(f"Done: {training.step:,} steps. The weights are in {training.folder.weights}; to use them:")
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
