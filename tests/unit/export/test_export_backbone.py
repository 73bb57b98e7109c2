"""Where exports come from and go to, what describes them, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from manyview.backbones import Backbone, save_backbone
from manyview.errors import UserError
from manyview.export import FORMATS, export_backbone
from manyview.export.card import find_source

Get = Callable[[str], Backbone]
# Of resnet18 with a quarter of its channels, counted by hand: the stem; in the first stage four 3 x 3 convolutions, in
# each later one, of width w, three, one from half of w and a shortcut; and two for each channel of a norm.
WIDTHS = (16, 32, 64, 128)
CONVOLUTIONS = 3 * 49 * 16 + 4 * 9 * 16**2 + sum(3 * 9 * w**2 + (9 + 1) * w * w // 2 for w in WIDTHS[1:])
PARAMETERS = CONVOLUTIONS + 2 * (16 + 4 * sum(WIDTHS) + sum(WIDTHS[1:]))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def run(slim: Get, folder: Path) -> Path:
    """What of a run's folder an export reads."""
    path = folder / "runs" / "a"
    path.mkdir(parents=True)
    save_backbone(slim("resnet18"), path / "backbone.safetensors", {})
    (path / "config.json").write_text(json.dumps({"recipe": "paper-160"}))
    return path


def test_the_description_of_a_file(run: Path, folder: Path) -> None:
    out = folder / "exports" / "deep" / "a.pkl"
    done = export_backbone(run, to="detectron2", out=out)

    assert done.card == out.with_name("a.pkl.json")
    card = json.loads(done.card.read_text())
    assert card["format"] == "detectron2"
    assert card["sha256"] == {"a.pkl": sha256(out)}
    assert card["source"] == {
        "weights": str(run / "backbone.safetensors"),
        "sha256": sha256(run / "backbone.safetensors"),
        "run": str(run),
        "recipe": "paper-160",
        "initial_sha256": None,
        "initial_license": None,
    }
    assert card["backbone"] == {
        "name": "resnet18",
        "in_channels": 3,
        "out_channels": 512 // 4,
        "parameters": PARAMETERS,
        "image_size": "any",
    }
    images = card["images"]
    assert images["channels"] == "RGB"
    assert images["mean"] == [0.485, 0.456, 0.406]
    assert images["mean_255"] == [123.675, 116.28, 103.53]
    assert images["std_255"] == [58.395, 57.12, 57.375]
    assert (card["read_back"]["matched"], card["read_back"]["total"], card["read_back"]["difference"]) == (120, 120, 0)
    assert "the weights are yours" in card["licence"]
    assert card["provenance"]["versions"]["torch"]


def test_the_description_in_a_folder(run: Path, folder: Path) -> None:
    done = export_backbone(run / "backbone.safetensors", to="huggingface", out=folder / "hf")

    assert done.card == folder / "hf" / "manyview.json"
    card = json.loads(done.card.read_text())
    assert card["source"]["recipe"] == "paper-160"
    names = {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert card["sha256"] == {name: sha256(folder / "hf" / name) for name in names}
    assert {file.name for file in (folder / "hf").iterdir()} == names | {"manyview.json"}
    assert {file.name for file in folder.iterdir()} == {"runs", "hf"}


def test_the_best_weights_of_a_run_are_its_own(run: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.copy(here / "backbone.safetensors", here / "best.safetensors")
    shutil.copy(here / "backbone.safetensors", here / "elsewhere.safetensors")
    source = find_source(here / "best.safetensors")
    assert (source.run, source.recipe) == (str(here), "paper-160")
    assert find_source(here / "elsewhere.safetensors").run is None


def test_other_peoples_weights(slim: Get, folder: Path) -> None:
    """A MoCo v2 checkpoint becomes Detectron2's in one step, without its heads."""
    state = {f"module.encoder_q.{key}": value for key, value in slim("resnet18").state_dict().items()}
    heads = {"module.encoder_q.fc.0.weight": torch.ones(4, 4), "module.queue": torch.ones(4, 8)}
    torch.save({"arch": "resnet18", "state_dict": state | heads}, folder / "moco.pth.tar")
    done = export_backbone(folder / "moco.pth.tar", to="detectron2", out=folder / "a.pkl")

    assert (done.check.matched, done.check.total) == (120, 120)
    source = json.loads(done.card.read_text())["source"]
    assert (source["run"], source["recipe"]) == (None, None)


def test_of_a_file_of_two_networks_the_named_one_is_exported(slim: Get, folder: Path) -> None:
    own = {f"color.{key}": value for key, value in slim("resnet18").state_dict().items()}
    zero = torch.zeros(())  # expanded, so that the file stays small
    other = {f"depth.{key}": zero.expand(value.shape) for key, value in slim("resnet50").state_dict().items()}
    torch.save(own | other, folder / "both.pth")
    done = export_backbone(folder / "both.pth", to="torchvision", out=folder / "a.pth", backbone="resnet18")

    assert (done.check.matched, done.check.total) == (120, 120)
    assert json.loads(done.card.read_text())["source"]["sha256"] == sha256(folder / "both.pth")


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ({"init_sha256": "ab"}, "made from other weights, whose license is not recorded and may reach them"),
        ({"init_sha256": "ab", "init_license": "MIT"}, "made from weights under MIT, whose terms reach them"),
    ],
)
def test_the_license_of_initial_weights(slim: Get, folder: Path, about: dict[str, str], sentence: str) -> None:
    save_backbone(slim("resnet18"), folder / "a.safetensors", about)
    done = export_backbone(folder / "a.safetensors", to="torchvision", out=folder / "a.pth")
    card = json.loads(done.card.read_text())

    assert card["source"]["initial_sha256"] == "ab"
    assert card["source"]["initial_license"] == about.get("init_license")
    assert sentence in card["licence"]
    assert "weights are yours" not in card["licence"]


def test_the_result_says_what_it_did(run: Path, folder: Path) -> None:
    phases: list[tuple[int, int, str]] = []
    done = export_backbone(run, to="torchvision", out=folder / "a.pth", progress=lambda *step: phases.append(step))

    text, size = str(done), (folder / "a.pth").stat().st_size / 1e6
    assert size == pytest.approx(4e-6 * PARAMETERS, rel=0.05)
    assert text.startswith(f"torchvision: {folder / 'a.pth'} ({size:.1f} MB), described in {folder / 'a.pth.json'}\n")
    assert "matched 120 of 120 weights, read back by the body of a detector of torchvision" in text
    assert "largest difference of the feature maps 0, of values up to" in text
    assert [step[0] for step in phases] == [0, 1, 2, 3]


def test_a_path_with_quotes_in_the_lines(slim: Get, folder: Path) -> None:
    out = folder / 'my "best" run.pth'
    done = export_backbone(slim("resnet18"), to="torchvision", out=out)

    names: dict[str, Any] = {}
    exec(done.lines, names)
    assert "detector" in names


@pytest.mark.parametrize(
    ("to", "hint"),
    [
        ("detectron", "did you mean detectron2?"),
        ("TorchVision", "did you mean torchvision?"),
        ("transformers", "did you mean huggingface?"),
        ("mmdetection", "did you mean mmdet?"),
        ("onxx", "did you mean onnx?"),
        ("torchexport", "did you mean torch-export?"),
        ("tensorflow-lite", f"choose from {', '.join(FORMATS)}"),
    ],
)
def test_an_unknown_format(folder: Path, to: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        export_backbone("nowhere", to=to, out=folder / "a")
    assert str(caught.value) == f"unknown format {to!r}; {hint}"


@pytest.mark.parametrize(
    ("to", "out", "part"),
    [
        ("torchvision", "a.onnx", r"ends in \.pth or \.pt or \.safetensors, not 'a\.onnx'"),
        ("detectron2", "a", r"ends in \.pkl, not 'a'"),
        ("huggingface", "a.safetensors", r"is a folder: choose a name without \.safetensors"),
        ("torchvision", "old.pth", r"old\.pth already exists"),
        ("timm", "described.pth", r"described\.pth\.json already exists"),
        ("huggingface", "full", "full already exists"),
        ("timm", "old.pth/a.pth", r"old\.pth is a file: choose a folder"),
    ],
)
def test_a_place_that_cannot_be_used(slim: Get, folder: Path, to: str, out: str, part: str) -> None:
    (folder / "old.pth").write_text("mine")
    (folder / "described.pth.json").write_text("mine")
    (folder / "full").mkdir()
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError, match=part):
        export_backbone(slim("resnet18"), to=to, out=folder / out)
    assert sorted(folder.rglob("*")) == before
    assert (folder / "old.pth").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(slim: Get, folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o500)
    with pytest.raises(UserError, match="no permission to write into"):
        export_backbone(slim("resnet18"), to="timm", out=folder / "closed" / "a.pth")


@pytest.mark.parametrize(("to", "out"), [("torchvision", "a.pth"), ("huggingface", "a")])
def test_a_size_where_none_is_fixed(slim: Get, folder: Path, to: str, out: str) -> None:
    with pytest.raises(UserError, match=f"{to} takes images of any size; --size is for onnx and torch-export"):
        export_backbone(slim("resnet18"), to=to, out=folder / out, size=224)


def test_a_size_too_small(slim: Get, folder: Path) -> None:
    with pytest.raises(UserError, match="at least 8 pixels, not 4"):
        export_backbone(slim("resnet18"), to="onnx", out=folder / "a.onnx", size=4)


REFUSED: list[tuple[str, str, str]] = [
    ("timm/test_vit", "torchvision", "torchvision has no network with the layers of timm/test_vit"),
    ("timm/test_vit", "detectron2", "Detectron2 has no network with the layers of timm/test_vit"),
    ("timm/test_vit", "mmdet", "mmdet has no network with the layers of timm/test_vit; export it to timm, "),
    ("timm/test_vit", "ultralytics", "Ultralytics takes torchvision's networks, and timm/test_vit is none"),
    ("timm/test_resnet", "torchvision", "torchvision has no network with the layers of timm/test_resnet"),
    ("resnet18+4", "torchvision", "the ResNets of torchvision take images of 3 channels, and these weights are for 4"),
    ("resnet18+4", "ultralytics", "the ResNets of Ultralytics take images of 3 channels, and these weights are for 4"),
    ("wide_resnet50_2", "mmpretrain", "mmpretrain has no network with the layers of wide_resnet50_2"),
]


@pytest.mark.parametrize(("name", "to", "part"), REFUSED)
def test_a_network_that_a_library_lacks(slim: Get, folder: Path, name: str, to: str, part: str) -> None:
    endings: Any = FORMATS[to].suffixes or ("",)
    with pytest.raises(UserError) as caught:
        export_backbone(slim(name), to=to, out=folder / f"a{endings[0]}")
    assert str(caught.value).startswith(part)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("to", sorted(set(FORMATS) - {"onnx", "torch-export", "ultralytics"}))
def test_a_module_of_ones_own_is_for_compiled_formats(small: Backbone, folder: Path, to: str) -> None:
    endings: Any = FORMATS[to].suffixes or ("",)
    with pytest.raises(UserError, match=r"no network with the layers of own:.*; export it to onnx or torch-export$"):
        export_backbone(small, to=to, out=folder / f"a{endings[0]}")
