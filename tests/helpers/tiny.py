"""A run small enough to be done hundreds of times: sixteen small images and a network of two convolutions."""

from __future__ import annotations

import contextlib
import csv
import functools
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from jaxtyping import Float
from lightning_fabric.utilities import registry
from PIL import Image
from torch import Tensor, nn

from manyview.recipes import RECIPES, launch, pretrain
from manyview.runs import RunFolder

# Each Fabric reads the files of all installed packages for plug-ins, a twentieth of a small run; none is installed.
registry.entry_points = functools.cache(registry.entry_points)

COUNT = 16
ON_CPU: dict[str, Any] = {
    "data.workers": 0,
    "training.precision": "float32",
    "training.device": "cpu",
    "training.threads": 1,
}
# Each method's, so small that a step of four images is nothing.
METHODS: dict[str, dict[str, Any]] = {
    "simsiam": {"projection_dim": 32, "prediction_hidden_dim": 16},
    "moco": {"queue": 16, "dim": 8, "hidden_dim": 16, "shuffled_parts": 2},
    "densecl": {"queue": 16, "dim": 8, "hidden_dim": 16, "shuffled_parts": 2},
    "byol": {"hidden_dim": 16, "dim": 8},
    "contrastive": {"hidden_dim": 16, "dim": 8},
    "barlowtwins": {"hidden_dim": 16, "dim": 8},
    "vicreg": {"hidden_dim": 16, "dim": 8},
    "supervised": {},
    "swav": {"prototypes": 6, "queue": 16, "queue_start": 0.0, "dim": 8, "hidden_dim": 16},
    "dino": {"prototypes": 12, "hidden_dim": 16, "bottleneck_dim": 8, "teacher_temperature_epochs": 1.0},
}
# What a method needs besides a weight to add the image-aware loss to its own.
WITH_IMAGE_AWARE: dict[str, dict[str, Any]] = {"contrastive": {"method.attract": "pair"}}
SETTINGS = {**ON_CPU, **{f"method.{key}": value for key, value in METHODS["simsiam"].items()}}


def write_images(folder: Path, count: int = COUNT) -> Path:
    """JPEGs of 64 x 48 pixels in blocks of eight, each of its own colors."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        cells = np.random.default_rng(index).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(cells.repeat(8, 0).repeat(8, 1)).save(folder / f"{index:02d}.jpg")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sixteen, for reading only."""
    return write_images(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def labels(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of the sixteen: all are "any", every second "even", every third "third"."""
    file = tmp_path_factory.mktemp("labels") / "labels.csv"
    rows = [
        f"{path.name},any{'|even' * (index % 2 == 0)}{'|third' * (index % 3 == 0)}"
        for index, path in enumerate(sorted(photos.iterdir()))
    ]
    file.write_text("\n".join(["image,labels", *rows]) + "\n")
    return file


class TinyNet(nn.Module):
    """Two convolutions; dropout, so that a wrong state of the random generator shows in the weights."""

    def __init__(self, dropout: float = 0.2, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(dropout)),
            *(nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        )

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch dim h w"]:
        return self.layers(x)


class Interrupting(TinyNet):
    """A network during whose pass, in some step, the process gets a signal."""

    def __init__(self, step: int = 999, number: signal.Signals = signal.SIGINT, channels: int = 3) -> None:
        super().__init__(channels=channels)
        self.step, self.number, self.passes = step, number, 0

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch dim h w"]:
        if self.training and torch.is_grad_enabled():  # not of a momentum encoder
            self.passes += 1
            if self.passes == 2 * self.step:  # a pass for either view of the pairs
                signal.raise_signal(self.number)
        return super().forward(x)


def train_tiny(
    images: Path | str | None,
    out: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    backbone: nn.Module | str | None = None,
    resume: bool | str = False,
    quiet: bool = True,
    health: bool = False,
    **named: Any,
) -> RunFolder:
    """``pretrain`` with sizes that take a fraction of a second: 4 images a step, 2 epochs of 4 steps.

    The weights are checked in the end, which takes a quarter of that time, only for who reads of it: with ``health``,
    or what is printed.
    """
    backbone = TinyNet() if backbone is None else backbone
    named = {"epochs": 2, "batch_size": 4, "view_size": 16, **named}
    method = _method(out if resume else None, named.get("recipe"), settings or {})
    values = {**ON_CPU, **{f"method.{key}": value for key, value in METHODS[method].items()}, **(settings or {})}
    with contextlib.nullcontext() if health or not quiet else unchecked():
        return pretrain(images, out, backbone=backbone, set=values, resume=resume, quiet=quiet, **named)  # type: ignore[arg-type]


def unchecked() -> contextlib.AbstractContextManager[object]:
    """Runs end without a check of their weights."""
    return patch.object(launch, "_conclude")


def _method(resumed: Path | None, recipe: str | None, settings: Mapping[str, Any]) -> str:
    """The method of a run."""
    if resumed is not None and (resumed / "config.json").is_file():
        with contextlib.suppress(ValueError, LookupError, TypeError):  # damaged, as tests of that do
            return str(json.loads((resumed / "config.json").read_text())["method"]["name"])
    of_recipe = RECIPES[recipe or "paper"].get("method", {}).get("name", "simsiam")
    return str(settings.get("method.name", of_recipe))


def skipped_reasons(run: Path) -> dict[str, str]:
    """What ``skipped.csv`` says."""
    with (run / "skipped.csv").open(newline="") as lines:
        return {row["image"]: row["reason"] for row in csv.DictReader(lines)}
