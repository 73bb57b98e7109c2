"""``manyview export``: what it prints and writes, and how it reports mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from manyview.backbones import build_backbone, save_backbone
from manyview.export import FORMATS
from tests.helpers.commands import Command, complaint

VERB = "export"  # what the fixture ``command`` runs


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a ResNet-18 and a small timm model, by their names."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("resnet18", "timm/test_resnet"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            save_backbone(build_backbone(name), folder / f"{name.rpartition('/')[2]}.safetensors", {})
    yield folder
    for file in folder.iterdir():
        file.unlink()


def test_it_says_what_matched_and_what_to_paste(command: Command, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "a folder" / "resnet18.pth"
    status, printed, err = command(weights / "resnet18.safetensors", "--to", "torchvision", "--out", out)

    assert (status, err) == (0, "")
    lines = printed.splitlines()
    assert lines[0].startswith(f"torchvision: {out} (44.8 MB)")
    assert lines[1].startswith("matched 120 of 120 weights, read back by the body of a detector of torchvision")
    assert lines[2].startswith("largest difference of the feature maps 0, of values up to ")
    code = printed.split("To paste:\n")[1]
    names: dict[str, torch.nn.Module] = {}
    exec(code, names)
    body = names["detector"].get_submodule("backbone.body").state_dict()
    kept = torch.load(out, weights_only=True)
    assert body.keys() == kept.keys()
    assert all(torch.equal(body[key], kept[key]) for key in kept)
    assert json.loads(out.with_name("resnet18.pth.json").read_text())["read_back"]["total"] == 120
    out.unlink()


def test_its_options_reach_the_export(command: Command, weights: Path, tmp_path: Path) -> None:
    options = ("--to", "torch-export", "--out", tmp_path / "a.pt2", "--size", 32, "--backbone", "timm/test_resnet")
    status, printed, _ = command(weights / "test_resnet.safetensors", *options)

    assert status == 0
    card = json.loads((tmp_path / "a.pt2.json").read_text())
    assert card["backbone"]["image_size"] == [32, 32]
    assert "torch.export.load" in printed


def test_the_list_of_formats(command: Command) -> None:
    status, printed, err = command("--list")

    assert (status, err) == (0, "")
    assert [name for name in FORMATS if name not in printed] == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nowhere", "--to", "timm", "--out", "OUT/a.pth"], "there is no file or folder nowhere"),
        (["WEIGHTS", "--to", "tim", "--out", "OUT/a.pth"], "unknown format 'tim'; did you mean timm?"),
        (["WEIGHTS", "--to", "timm", "--out", "OUT/a.pkl"], "a file that ends in .pth or .pt or .safetensors"),
        (["WEIGHTS", "--to", "timm", "--out", "OUT"], "a file that ends in"),
        (["WEIGHTS", "--to", "onnx", "--out", "OUT/a.onnx", "--size", "2"], "--size must be at least 8 pixels, not 2"),
        (["WEIGHTS", "--to", "onnx", "--out", "OUT/a.onnx", "--size", "0"], "--size must be at least 8 pixels, not 0"),
        (["WEIGHTS", "--to", "mmdet", "--out", "OUT/a.pth"], "no network with the layers of timm/test_resnet"),
        (["WEIGHTS", "--to", "timm"], "--out"),
        (["WEIGHTS", "--out", "OUT/a.pth"], "--to"),
        (["WEIGHTS", "--to", "timm", "--out", "OUT/a.pth", "--backbone", "resnet18"], "not of resnet18"),
        (["EMPTY", "--to", "timm", "--out", "OUT/a.pth"], "is not a run folder"),
    ],
)
def test_a_mistake_is_one_line(command: Command, weights: Path, tmp_path: Path, words: list[str], part: str) -> None:
    (tmp_path / "empty").mkdir()
    places = {"WEIGHTS": str(weights / "test_resnet.safetensors"), "EMPTY": str(tmp_path / "empty")}
    assert part in complaint(command(*(places.get(word, word).replace("OUT", str(tmp_path)) for word in words)))
    assert [file.name for file in tmp_path.iterdir()] == ["empty"]
