"""``--devices``: the processes that it starts give the run of one, and what ends them comes through once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import manyview
from manyview.errors import UserError
from manyview.runs import RunFolder
from tests.helpers.tiny import ON_CPU, TinyNet, photos, train_tiny

__all__ = ["photos"]

SETTINGS = {**ON_CPU, "method.projection_dim": 32, "method.prediction_hidden_dim": 16}


def train(photos: Path, out: Path, **named: object) -> Path:
    run = manyview.pretrain(
        photos, out, recipe="simsiam", backbone="timm/test_resnet", batch_size=8, view_size=32, quiet=True, **named
    )
    return run.weights


def test_two_processes_give_the_run_of_one(photos: Path, tmp_path: Path) -> None:
    whole, shared = (
        load_file(str(train(photos, tmp_path / str(devices), devices=devices, steps=2, set=SETTINGS)))
        for devices in (None, 2)
    )
    alone, together = (RunFolder(tmp_path / name).read_json("run.json") for name in ("None", "2"))
    assert (together["command"], together["processes"]) == (alone["command"], 2)
    assert whole.keys() == shared.keys()
    for key, value in whole.items():
        assert (shared[key] - value).abs().max() <= 1e-4 * max(1.0, float(value.abs().max())), key
    with pytest.raises(UserError, match=r"already holds|is not empty|holds a run") as caught:
        train(photos, tmp_path / "2", devices=2, steps=2, set=SETTINGS)
    assert not str(caught.value).startswith("on rank")


def test_what_cannot_be_started_is_said(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="a module of your own: start your script several times instead, by torchrun"):
        train_tiny(photos, tmp_path / "own", backbone=TinyNet(), devices=2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"--devices is 2, but this machine has 1 CUDA device: use --devices 1"):
        train(photos, tmp_path / "gpus", devices=2, set=["training.device=cuda"])
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr("manyview.distributed.agreement._count", lambda: 1)
    with pytest.raises(UserError, match="--devices 2 starts processes, but 3 are running already"):
        train(photos, tmp_path / "more", devices=2)
    assert not list(tmp_path.iterdir())
