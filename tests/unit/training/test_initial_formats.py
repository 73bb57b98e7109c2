"""A run from a checkpoint of each published layout, which need not be named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from manyview.backbones import build_backbone
from manyview.config import IMAGENET_MEAN, IMAGENET_STD
from manyview.runs import RunFolder
from manyview.training import run as setting_up
from manyview.training.loop import Training
from tests.helpers.checkpoint_files import LAYOUTS, Layout, State, body, network, timm, weights_in
from tests.helpers.narrow import narrowed
from tests.helpers.starting import equal, go_on
from tests.helpers.tiny import write_images


class Begun(Exception):  # noqa: N818 - no error
    """A run is about to make its first step."""


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[State]:
    """The weights with which each run begins; it ends there."""
    seen: list[State] = []

    def run_loop(training: Training) -> None:
        seen.append(training.method.backbone.state_dict())
        raise Begun

    monkeypatch.setattr(setting_up, "run_loop", run_loop)
    return seen


@pytest.fixture(scope="module")
def resnet() -> Iterator[nn.Module]:
    """With a quarter of its channels, as that which runs build."""
    with narrowed(4):
        yield network("resnet18")


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


def test_a_run_begins_with_the_very_weights_of_every_layout(
    layout: Layout,
    resnet: nn.Module,
    photos: Path,
    tmp_path: Path,
    begun: list[State],
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = resnet.state_dict()
    file = layout.write(state, tmp_path)

    # No backbone is named: that of the weights is taken, not the recipe's ResNet-50.
    with pytest.raises(Begun):
        go_on(photos, tmp_path / "run", file, quiet=False)

    assert equal(begun[0], body(state))
    run = RunFolder(tmp_path / "run")
    config = run.read_json("config.json")
    expected = {"name": "resnet18", "init": str(file), "init_license": None}
    expected |= {"zero_init_residual": True, "freeze_patch_projection": False}
    assert config["backbone"] == expected
    assert (tuple(config["views"]["mean"]), tuple(config["views"]["std"])) == (IMAGENET_MEAN, IMAGENET_STD)
    kept = run.read_json("run.json")["init"]
    left_out = kept.pop("left_out")
    assert left_out.keys() == layout.dropped
    assert sum(left_out.values()) == len(weights_in(layout.make(state))) - len(body(state))
    assert kept == {
        "file": str(file),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "format": layout.format,
        "network": "resnet18",
        "license": None,
        "convolutions": {"matched": 20, "all": 20},
        "norms": {"matched": 20, "all": 20},
    }
    words = capsys.readouterr().err
    assert f"Starting from {file}: resnet18 from a checkpoint in the format of {layout.format}: " in words
    assert "records none, so those that ImageNet has; if these weights have others, set views.mean" in " ".join(
        words.split()
    )
    assert ("left out: " in words) == bool(layout.dropped)
    file.unlink()  # pytest would keep it for three sessions


def test_a_run_trains_on_from_there(resnet: nn.Module, tmp_path: Path) -> None:
    file = LAYOUTS["detectron2"].write(resnet.state_dict(), tmp_path)

    run = go_on(write_images(tmp_path / "photos", 4), tmp_path / "run", file, health=True)

    trained, first = load_file(str(run.weights)), body(resnet.state_dict())
    assert trained.keys() == first.keys()
    # One step of training, from weights that are others for every layer than the untrained network's.
    assert 0 < (trained["conv1.weight"] - first["conv1.weight"]).abs().max() < 0.1
    assert trained["bn1.num_batches_tracked"] > first["bn1.num_batches_tracked"]
    # The untrained network beside which it is judged is a new one all the same.
    assert "random_init" in run.read_json("health.json")["results"]
    file.unlink()
    run.weights.unlink()


@pytest.mark.parametrize("named", [None, "timm/test_resnet"])
def test_a_run_begins_with_the_weights_of_timms_training(
    named: str | None, photos: Path, tmp_path: Path, begun: list[State]
) -> None:
    state = build_backbone("timm/test_resnet").state_dict()
    classifier = {"fc.weight": torch.ones(10, 96), "fc.bias": torch.ones(10)}
    torch.save(timm(state | classifier, "test_resnet"), tmp_path / "w.pth.tar")

    with pytest.raises(Begun):
        go_on(photos, tmp_path / "run", tmp_path / "w.pth.tar", named)

    assert equal(begun[0], state)
    assert RunFolder(tmp_path / "run").read_json("run.json")["init"]["left_out"] == {"the classifier": 2}
