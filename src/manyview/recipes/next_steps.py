"""What to do with a finished run: commands to paste, with the run's own paths."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from manyview.backbones import build_backbone
from manyview.backbones.build import RESNETS
from manyview.config import PretrainConfig
from manyview.detection.models.build import check_backbone
from manyview.errors import UserError
from manyview.labels.yolo.data_file import is_data_file
from manyview.options.shared import CsvLayout

_COMMAND = "manyview"


def next_steps(run: Path, config: PretrainConfig) -> str:
    """Commands that evaluate, fine-tune, export and report on a run, each in one line that a shell takes as it is.

    Labels that the run has are named; other files of labels are called train.csv, val.csv and so on. What cannot work
    is left out: where the backbone is a module of the user's own, all that builds a network by name; and a detector
    where the images are not RGB or none can be built on the backbone.

    Args:
        run: its folder, as the user gave it.
        config: what ran.
    """
    lines = list(_commands(run, config))
    title = "What to do next"
    if unknown := [name for name in _UNKNOWN if any(name in line for line in lines)]:
        title += f" (in place of {', '.join(unknown)} name labels of yours)"
    return "\n".join([f"{title}:", *(f"  {line}" for line in lines)])


_UNKNOWN = ("train.csv", "val.csv", "train.json", "val.json")


def _commands(run: Path, config: PretrainConfig) -> Iterator[str]:
    name = config.backbone.name
    if not name.startswith("own:"):
        images = ("--images", _as_given(config.data.images))
        yield _line("linear", run, *images, *_labels(config), "--out", f"{run}-linear")
        if (architecture := _detector(config)) is not None:
            options = ("--architecture", architecture) if architecture != "c4" else ()
            yield _line("detect", run, *images, *_objects(config), "--out", f"{run}-boxes", *options, "--draw", "8")
        library = "torchvision" if name in RESNETS and config.data.channels == 3 else "timm"
        yield _line("export", run, "--to", library, "--out", f"{run}-{library}.safetensors")
    yield _line("report", run, "--out", f"{run}.html")


def _line(verb: str, *words: str | os.PathLike[str]) -> str:
    return f"{_program()} {shlex.join([verb, *(os.fspath(word) for word in words)])}"


def _program() -> str:
    """The command as the user's shell finds it."""
    if shutil.which(_COMMAND):
        return _COMMAND
    called = Path(sys.argv[0])
    if called.name == _COMMAND and called.is_file():  # as .venv/bin/manyview
        return shlex.quote(sys.argv[0])
    return f"{shlex.quote(sys.executable or 'python')} -m {_COMMAND}"


def _as_given(path: str) -> str:
    """A path of the configuration, which is absolute, relative to the working directory if it is below it."""
    try:
        return str(Path(path).relative_to(Path.cwd())) if Path(path).is_absolute() else path
    except (ValueError, OSError):
        return path


def _labels(config: PretrainConfig) -> Iterator[str]:
    """Options of ``linear`` for labels, with those that the run was measured by or learned from."""
    data, monitor = config.data, config.monitor
    train = monitor.eval_labels or data.labels
    yield from _splits("csv", train, monitor.eval_val_labels)
    for name in CsvLayout.__annotations__:
        if (value := getattr(data, name)) is not None:
            yield f"--{name.replace('_', '-')}={value}"
    yield from _class_names(config)


def _objects(config: PretrainConfig) -> Iterator[str]:
    """Options of ``detect`` for objects: the run's labels, where their format has boxes."""
    monitor = config.monitor
    known = (monitor.eval_labels or config.data.labels, monitor.eval_val_labels)
    yield from _splits("json", *(file if file and _may_have_boxes(Path(file)) else None for file in known))
    yield from _class_names(config)


def _class_names(config: PretrainConfig) -> Iterator[str]:
    """Option for the file that names YOLO's classes, if the run has one."""
    if config.data.class_names is not None:
        yield f"--names={_as_given(config.data.class_names)}"


def _splits(ending: str, train: str | None, val: str | None) -> Iterator[str]:
    """Options for both splits, unknown files called train and val; a data set's YAML file has both."""
    yield from ("--train-labels", _as_given(train) if train else f"train.{ending}")
    if val or not (train and is_data_file(Path(train))):
        yield from ("--val-labels", _as_given(val) if val else f"val.{ending}")


def _may_have_boxes(labels: Path) -> bool:
    return labels.suffix.lower() == ".json" or labels.is_dir() or is_data_file(labels)


def _detector(config: PretrainConfig) -> str | None:
    """The architecture of a detector on the run's backbone; None if there is none."""
    name, bands = config.backbone.name, config.data.bands
    if bands != "rgb":
        return None
    if name in RESNETS:
        return "c4"
    try:
        with torch.random.fork_rng(devices=[]):
            check_backbone("fpn", build_backbone(name).eval())
    except (UserError, RuntimeError):
        return None
    return "fpn"
