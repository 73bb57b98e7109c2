"""``manyview pretrain --init``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from manyview.backbones import build_backbone, save_backbone
from manyview.runs import RunFolder
from tests.helpers.commands import Command, complaint
from tests.helpers.tiny import SETTINGS

VERB = "pretrain"  # what the fixture ``command`` runs
SETS = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
SMALL = ["--epochs", "1", "--batch-size", "8", "--view-size", "32", *SETS]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        save_backbone(build_backbone("timm/test_resnet"), tmp_path / "w.safetensors", {})
    return tmp_path / "w.safetensors"


def test_a_run_starts_from_the_weights_and_says_so(
    command: Command, photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A path relative to where the command was given means the same to whoever repeats it elsewhere.
    monkeypatch.chdir(tmp_path)
    status, _, err = command(photos, "--out", tmp_path / "run", "--init", "w.safetensors", *SMALL)

    assert status == 0
    assert f"Starting from {weights}: timm/test_resnet from a checkpoint in the format of manyview: " in err
    backbone = RunFolder(tmp_path / "run").read_json("config.json")["backbone"]
    assert (backbone["name"], backbone["init"]) == ("timm/test_resnet", str(weights))

    weights.unlink()
    status, _, err = command("--out", tmp_path / "run", "--resume")
    assert status == 0
    assert "Resumed after step 2 of 2." in err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--init", "nix.pth"], "there is no file or folder "),
        (["--init", "."], "is not a run folder: it holds no backbone.safetensors"),
        (["--init", "w.safetensors", "--backbone", "resnet18"], "holds the weights of timm/test_resnet, but"),
        (["--init", "w.safetensors", "--set", "data.bands=5"], "images of 3 channels, but those of the run have 5"),
        (["--init", "text.pth"], "is not a checkpoint"),
        (["--set", "backbone.init=3"], "backbone.init (--set) must be a valid string, not 3"),
        (["--set", "backbone.inti=w.pth"], "did you mean backbone.init?"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_folder(
    command: Command,
    photos: Path,
    weights: Path,
    tmp_path: Path,
    words: list[str],
    part: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.pth").write_text("not weights")
    images = photos
    if "data.bands=5" in words:
        images = tmp_path / "tiles"
        images.mkdir()
        (images / "a.npy").touch()
        (images / "b.npy").touch()
    assert part in complaint(command(images, "--out", tmp_path / "run", *words, *SMALL))
    assert not (tmp_path / "run").exists()
