"""Runs that start from weights instead of new random ones, and weights for them to start from."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from manyview.backbones import save_backbone, wrap_backbone
from manyview.recipes import pretrain
from manyview.runs import RunFolder
from manyview.training import run as setting_up
from manyview.training.loop import Training
from tests.helpers.checkpoint_files import State, shaken
from tests.helpers.tiny import SETTINGS, Interrupting, TinyNet, train_tiny, unchecked, write_images


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> list[State]:
    """The backbone's weights as each training begins; it then goes on as usual."""
    seen: list[State] = []
    train = setting_up.run_loop

    def run_loop(training: Training) -> None:
        seen.append({name: value.clone() for name, value in training.method.backbone.state_dict().items()})
        train(training)

    monkeypatch.setattr(setting_up, "run_loop", run_loop)
    return seen


def go_on(
    images: Path | None,
    out: Path,
    init: Path | None = None,
    backbone: str | None = None,
    settings: Mapping[str, Any] | None = None,
    health: bool = False,
    **named: Any,
) -> RunFolder:
    """An epoch, where the backbone need not be named; the weights are checked in the end as by ``train_tiny``."""
    named = {"view_size": 32, "epochs": 1, "batch_size": 4, "quiet": True, **named}
    with contextlib.nullcontext() if health or not named["quiet"] else unchecked():
        return pretrain(images, out, init=init, backbone=backbone, set={**SETTINGS, **(settings or {})}, **named)


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, of images normalized in an unusual way; for reading only."""
    folder = tmp_path_factory.mktemp("small")
    settings = {"views.mean": [0.1, 0.2, 0.3], "views.std": [0.4, 0.5, 0.6]}
    images = write_images(folder / "photos", 8)
    return train_tiny(
        images, folder / "run", backbone="timm/test_resnet", view_size=32, epochs=1, settings=settings
    ).path


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    folder = tmp_path / "tiles"
    folder.mkdir()
    for index in range(8):
        pixels = np.random.default_rng(index).integers(0, 40000, (24, 24, 5), dtype=np.uint16)
        np.save(folder / f"{index}.npy", pixels)
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Of a module of one's own."""
    network = TinyNet()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    save_backbone(wrap_backbone(shaken(network), 16), tmp_path / "own.safetensors", {})
    return tmp_path / "own.safetensors"


def own_run(images: Path | None, out: Path, init: Path | None, step: int = 999, **named: Any) -> RunFolder:
    return train_tiny(images, out, backbone=Interrupting(step), init=init, **named)
