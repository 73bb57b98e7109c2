"""A run from another run, or from weights of one's own making."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from manyview.backbones import build_backbone, load_backbone
from tests.helpers.checkpoint_files import State
from tests.helpers.starting import equal, go_on, own_run
from tests.helpers.tiny import train_tiny


def test_a_run_goes_on_from_a_runs_folder_and_its_normalization(
    small: Path, photos: Path, tmp_path: Path, first: list[State]
) -> None:
    run = go_on(photos, tmp_path / "run", small)

    assert equal(first[0], load_file(str(small / "backbone.safetensors")))
    config = run.read_json("config.json")
    assert config["backbone"]["name"] == "timm/test_resnet"
    assert (config["views"]["mean"], config["views"]["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert load_backbone(run).mean == (0.1, 0.2, 0.3)
    assert run.read_json("run.json")["init"]["file"] == str(small / "backbone.safetensors")


def test_normalization_that_the_user_sets_is_taken(small: Path, photos: Path, tmp_path: Path) -> None:
    run = go_on(photos, tmp_path / "run", small, settings={"views.mean": [0.7, 0.7, 0.7]})

    assert run.read_json("config.json")["views"]["mean"] == [0.7, 0.7, 0.7]
    assert run.read_json("config.json")["views"]["std"] == [0.4, 0.5, 0.6]


def test_how_an_untrained_network_starts_is_the_runs_own_setting(
    small: Path, photos: Path, tmp_path: Path, first: list[State]
) -> None:
    run = go_on(photos, tmp_path / "run", small, settings={"backbone.zero_init_residual": False})

    assert equal(first[0], load_file(str(small / "backbone.safetensors")))
    assert load_backbone(run).zero_init_residual is False
    assert load_backbone(small).zero_init_residual is True


def test_a_run_can_be_repeated_from_its_own_file(small: Path, photos: Path, tmp_path: Path) -> None:
    run = go_on(photos, tmp_path / "run", small)
    again = go_on(None, tmp_path / "again", config=run.path / "config.json")

    assert again.weights.read_bytes() == run.weights.read_bytes()


def test_weights_of_bands_keep_the_figures_that_they_were_trained_with(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = go_on(tiles, tmp_path / "before", None, "timm/test_resnet", settings={"data.bands": 5})
    brighter = tmp_path / "brighter"
    brighter.mkdir()
    for file in tiles.iterdir():
        np.save(brighter / file.name, np.load(file) + np.uint16(20000))
    monkeypatch.setattr("manyview.training.normalization.measure_bands", lambda *_, **__: pytest.fail("measured anew"))

    run = go_on(brighter, tmp_path / "run", before.path, settings={"data.bands": 5})

    views = run.read_json("config.json")["views"]
    assert len(views["mean"]) == 5
    assert views == before.read_json("config.json")["views"]


def test_weights_that_do_not_say_leave_bands_to_be_measured(tiles: Path, tmp_path: Path) -> None:
    torch.save(build_backbone("timm/test_resnet", in_channels=5).state_dict(), tmp_path / "w.pth")

    run = go_on(tiles, tmp_path / "run", tmp_path / "w.pth", "timm/test_resnet", settings={"data.bands": 5})

    pixels = np.stack([np.load(file) for file in sorted(tiles.iterdir())]) / 65535
    assert run.read_json("config.json")["views"]["mean"] == pytest.approx(pixels.mean((0, 1, 2)), abs=1e-6)


def test_a_module_of_ones_own_is_filled(weights: Path, photos: Path, tmp_path: Path, first: list[State]) -> None:
    own_run(photos, tmp_path / "run", weights, epochs=1)

    assert equal(first[0], load_file(str(weights)))


def test_runs_without_initial_weights_say_nothing_of_them(photos: Path, tmp_path: Path) -> None:
    run = train_tiny(photos, tmp_path / "run", epochs=1)

    assert "init" not in run.read_json("run.json")
    assert json.loads((run.path / "config.json").read_text())["backbone"]["init"] is None
