"""Sets a run up, new or resumed, and trains it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from manyview import distributed
from manyview.backbones import Backbone, build_backbone, wrap_backbone
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.images import ImageFiles, find_images
from manyview.images.skipped import SkippedImages
from manyview.methods import SimSiam
from manyview.runs import RunFolder, provenance
from manyview.runs.state import restore
from manyview.runtime import choose_precision, resolve_device, silenced
from manyview.training.bands import normalised
from manyview.training.curves import Curves
from manyview.training.display import Display
from manyview.training.initial import Initial, load_initial, load_initial_again
from manyview.training.loop import Training, run_loop
from manyview.training.monitor import CollapseMonitor
from manyview.training.optimizer import make_optimizer
from manyview.training.plan import Plan, make_plan
from manyview.training.renderer import settle_renderer


def train(
    config: PretrainConfig, folder: RunFolder, *, resume: bool, module: nn.Module | None = None, quiet: bool = False
) -> None:
    """Run a resolved configuration in a folder.

    Args:
        config: what to do.
        folder: where; a new or an empty folder, or with ``resume`` one that holds this very configuration's run.
        resume: continue from the newest whole checkpoint.
        module: a backbone of one's own instead of ``config.backbone.name``; images to feature map.
        quiet: print nothing.

    Raises:
        UserError: anything that the user can mend.
    """
    data = config.data
    files = find_images(Path(data.images), Path(data.list) if data.list else None, arrays=data.bands != "rgb")
    fabric = make_fabric(config)
    torch.manual_seed(config.training.seed)
    backbone = _named_backbone(config) if module is None else wrap_backbone(module, config.views.size, data.channels)
    plan = make_plan(config, len(files), fabric.world_size)
    fingerprint = files.fingerprint()
    initial = None if resume or config.backbone.init is None else load_initial(backbone, config)
    if resume:
        _check_same_photographs(folder, fingerprint)
        _check_same_hardware(folder, plan.config, fabric)
    if fabric.global_rank == 0:
        if resume:
            folder.lock()
        else:
            folder.create()
    try:
        display = Display(plan.steps, plan.config.training.epochs, enabled=not quiet and fabric.global_rank == 0)
        if initial:
            display.say(initial.sentence)
        own = initial.normalisation if initial else None
        settled = normalised(plan.config, files, folder, fabric, display, resume=resume, initial=own)
        plan = replace(plan, config=settled)
        training = _set_up(plan, files, folder, fabric, backbone, display)
        training.plan = plan = settle_renderer(training, resume=resume)
        if fabric.global_rank == 0 and not resume:
            _describe(folder, plan, config, files, fingerprint, fabric, initial)
        fabric.barrier()
        if resume:
            _take_up(training)
        for remark in plan.remarks:
            display.say(remark, style="yellow")
        training.curves = Curves(folder.path, training.step, enabled=training.is_main)
        try:
            run_loop(training)
        finally:
            training.curves.close()
        _report(training)
    finally:
        folder.unlock()


def make_fabric(config: PretrainConfig) -> Fabric:
    """Fabric on the chosen device; under torchrun, one process of its world, with DDP."""
    device = resolve_device(config.training.device, "training.device")
    precision = choose_precision(config.training.precision, device)
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    devices: Any = local if world > 1 or device.type == "cpu" else ([device.index or 0] if device.type == "cuda" else 1)
    # Fabric tells what was asked of it, and advises on hardware that the user has deliberately not chosen.
    with silenced("lightning_fabric"):
        fabric = Fabric(
            accelerator=device.type,
            devices=devices,
            num_nodes=max(world // local, 1),
            strategy="ddp" if world > 1 else "auto",
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
        fabric.launch()
    distributed.leave_at_exit()
    return fabric


def _named_backbone(config: PretrainConfig) -> Backbone:
    if config.backbone.name.startswith("own:"):
        raise UserError(
            f"the backbone is {config.backbone.name.removeprefix('own:')}, a module of your own: "
            "call manyview.pretrain(..., backbone=module) from Python"
        )
    return build_backbone(
        config.backbone.name,
        zero_init_residual=config.backbone.zero_init_residual,
        in_channels=config.data.channels,
    )


def _set_up(
    plan: Plan, files: ImageFiles, folder: RunFolder, fabric: Fabric, backbone: Backbone, display: Display
) -> Training:
    config = plan.config
    method: nn.Module = SimSiam(backbone, config.method, config.losses)
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    method = method.to(device=fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert isinstance(method, SimSiam)
    if config.training.compile:
        method.backbone.compile()
    skipped = SkippedImages(
        files,
        config.data.max_bad_fraction,
        folder.skipped_file,
        "data.max_bad_fraction",
        resume=True,
        writes=fabric.global_rank == 0,
    )
    _note_images(backbone, config)
    return Training(
        plan=plan,
        files=files,
        folder=folder,
        fabric=fabric,
        method=method,
        optimizer=make_optimizer(method, config),
        monitor=CollapseMonitor(config.monitor),
        skipped=skipped,
        display=display,
        description={"recipe": config.recipe, "method": config.method.name},
    )


def _note_images(backbone: Backbone, config: PretrainConfig) -> None:
    """Keep with the weights what their images are and how these are normalised."""
    assert config.views.mean is not None, "normalised() fills them in"
    assert config.views.std is not None, "normalised() fills them in"
    backbone.mean, backbone.std, backbone.rgb = config.views.mean, config.views.std, config.data.bands == "rgb"


def _describe(
    folder: RunFolder,
    plan: Plan,
    asked: PretrainConfig,
    files: ImageFiles,
    fingerprint: str,
    fabric: Fabric,
    initial: Initial | None,
) -> None:
    """Write what runs and where it comes from; ``config.json`` last, as it makes the folder a run."""
    folder.write_json(
        "run.json",
        {
            **provenance(),
            "asked": asked.model_dump(mode="json"),
            "plan": {
                "photographs": plan.photographs,
                "steps": plan.steps,
                "views_per_step": plan.views_per_step,
                "learning_rate": plan.config.learning_rate,
            },
            "data": {"photographs": len(files), "fingerprint": fingerprint},
            **({"init": initial.describe()} if initial else {}),
            **_hardware(plan.config, fabric),
        },
    )
    folder.write_json("config.json", plan.config.model_dump(mode="json"))


def _check_same_hardware(folder: RunFolder, config: PretrainConfig, fabric: Fabric) -> None:
    """What ``auto`` stood for is part of the run: another device or precision would give other weights."""
    about = folder.read_json("run.json")
    now = _hardware(config, fabric)
    changed = [f"{key} was {about.get(key)}, now {value}" for key, value in now.items() if about.get(key) != value]
    if changed:
        raise UserError(
            f"{folder.path} was started on other hardware: {'; '.join(changed)}; resume it where it ran, "
            "or start a new run in another folder"
        )


def _hardware(config: PretrainConfig, fabric: Fabric) -> dict[str, Any]:
    return {
        "device": fabric.device.type,
        "precision": choose_precision(config.training.precision, fabric.device),
        "processes": fabric.world_size,
    }


def _check_same_photographs(folder: RunFolder, fingerprint: str) -> None:
    data = folder.read_json("run.json").get("data", {})
    if data.get("fingerprint") != fingerprint:
        raise UserError(
            f"the photographs are not those that {folder.path} was started with ({data.get('photographs')} then): "
            "files were added, removed or changed; start a new run"
        )


def _take_up(training: Training) -> None:
    checkpoint, complaints = training.folder.checkpoints.load_newest()
    for complaint in complaints:
        training.display.say(f"Warning: {complaint}; falling back to the one before", style="yellow")
    if checkpoint is None:
        training.display.say("No checkpoint was written yet; starting from the first step.")
        if training.plan.config.backbone.init is not None:
            load_initial_again(training.method.backbone, training.plan.config, training.folder)
            _note_images(training.method.backbone, training.plan.config)
        training.folder.drop_metrics_after(0)
        return
    restore(checkpoint, training.method, training.optimizer)
    training.step = checkpoint.step
    training.totals = dict(checkpoint.state["totals"])
    training.monitor.restore(checkpoint.state["monitor"])
    training.display.start = checkpoint.step
    if training.is_main:
        training.folder.drop_metrics_after(checkpoint.step)
    training.display.say(f"Resumed after step {checkpoint.step:,} of {training.plan.steps:,}.")


def _report(training: Training) -> None:
    """Last words of a run that is done."""
    count = len(training.skipped.reasons)
    if count:
        training.display.say(
            f"{count:,} of {len(training.files):,} photographs could not be read and were replaced; "
            f"see {training.folder.path / 'skipped.csv'}",
            style="yellow",
        )
    training.display.say(f"Done: {training.step:,} steps. The weights are in {training.folder.weights}; to use them:")
    backbone = training.method.backbone
    training.display.say(loading_lines(training.folder.weights, backbone.name, backbone.in_channels))


def loading_lines(weights: Path, backbone: str, in_channels: int) -> str:
    """The lines to paste for using the weights, filled in."""
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
