"""What a fine-tuning makes of weights, labels and settings, and which of them it refuses."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from manyview.backbones import build_backbone, save_backbone
from manyview.errors import NonFiniteLossError, UserError
from tests.helpers.shapes import tune_tiny

pytestmark = pytest.mark.usefixtures("narrow")


def first_loss(run: Path) -> float:
    """Of the first line of the log."""
    loss: float = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["loss"]
    return loss


def test_a_loss_that_is_not_finite_ends_the_run_in_one_sentence(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError) as caught:
        tune_tiny(shapes, tmp_path / "run", learning_rate=1e30)
    said = str(caught.value)
    assert re.match(r"the loss is not finite at iteration 2 \(loss (nan|inf), loss_box_reg ", said)
    assert "learning rate 1e+30" in said
    assert "smaller --learning-rate" in said
    assert not list((tmp_path / "run").glob("checkpoints/*.safetensors"))


def test_weights_arrive(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(5)
    backbone = build_backbone("resnet18")
    save_backbone(backbone, tmp_path / "backbone.safetensors", {})
    options: dict[str, Any] = {"weights": tmp_path / "backbone.safetensors", "backbone": None}
    options |= {"learning_rate": 1e-12, "precise_batches": 0, "quiet": False}
    result = tune_tiny(shapes, tmp_path / "run", **options, iterations=1)
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'backbone.safetensors'}: 20 of 20 convolutions and ")
    assert "20 of 20 convolutions" in result["protocol"]["loading"]
    assert len(result["protocol"]["weights_sha256"]) == 64
    tensors = load_file(tmp_path / "run" / "detector.safetensors")
    assert torch.allclose(tensors["backbone.layer3.0.conv1.weight"], backbone.state_dict()["layer3.0.conv1.weight"])
    assert torch.allclose(
        tensors["roi_heads.box_head.layer4.1.conv2.weight"], backbone.state_dict()["layer4.1.conv2.weight"]
    )


def bands(folder: Path) -> dict[str, Any]:
    save_backbone(build_backbone("resnet18", in_channels=4), folder / "bands.safetensors", {})
    return {"weights": folder / "bands.safetensors", "backbone": None}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda _: {"weights": None}, "WEIGHTS is missing"),
        (lambda _: {"backbone": None}, "random init needs the name of a network, such as --backbone"),
        (bands, r"is for images of 4 channels, but detectors are trained on RGB"),
        (lambda _: {"draw": -1}, "draw must be at least 0"),
        (lambda _: {"checkpoint_minutes": 0}, "checkpoint_minutes must be over 0"),
        (lambda _: {"workers": -1}, "workers must be at least 0, not -1"),
        (lambda _: {"seed": -1}, "seed must be from 0 to "),
        (lambda _: {"seed": 2**64}, "seed must be from 0 to "),
        (lambda folder: {"train_labels": folder / "none.json"}, r"none\.json does not exist"),
        (lambda _: {"device": "tpu"}, "unknown device 'tpu'"),
        (lambda _: {"backbone": "timm/resnet10t"}, "c4 needs a torchvision ResNet"),
        (
            lambda _: {"backbone": "timm/shvit_s1", "architecture": "fpn"},
            "no feature pyramid can be built on timm/shvit",
        ),
    ],
)
def test_mistakes_are_reported_before_any_work(
    shapes: Path, tmp_path: Path, wrong: Callable[[Path], dict[str, Any]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        tune_tiny(shapes, tmp_path / "run", **wrong(tmp_path))
    assert not (tmp_path / "run").exists()


def test_a_folder_of_something_else_is_reported_before_labels_are_read(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="is not empty; choose a new folder"):
        tune_tiny(tmp_path / "none.json", tmp_path)


def test_pycocotools_is_missed_before_any_work(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UserError, match=r"pip install 'manyview\[detect\]'"):
        tune_tiny(shapes, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_without_objects_are_measured_but_not_trained_on(shapes: Path, tmp_path: Path) -> None:
    labels = json.loads(shapes.read_text())
    labels["annotations"] = [entry for entry in labels["annotations"] if entry["image_id"] > 2]
    (tmp_path / "some.json").write_text(json.dumps(labels))
    some = {"train_labels": tmp_path / "some.json", "val_labels": tmp_path / "some.json"}
    result = tune_tiny(shapes, tmp_path / "run", **some, iterations=1)
    assert (result["protocol"]["train"]["photographs"], result["protocol"]["val"]["photographs"]) == (5, 5)
    assert result["protocol"]["train"]["photographs_with_objects"] == 3
    assert all(math.isfinite(result["results"]["box"][key]) for key in ("AP", "AP50", "AP75"))


def test_oddities_of_the_labels_are_reported(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = json.loads(shapes.read_text())
    first, second, *_, last = labels["annotations"]
    first["bbox"], second["bbox"], last["category_id"] = [-5, -5, 40, 40], [3, 3, 0, 8], 9
    (tmp_path / "odd.json").write_text(json.dumps(labels))
    odd = {"train_labels": tmp_path / "odd.json", "label_problems": "skip"}
    result = tune_tiny(shapes, tmp_path / "run", **odd, iterations=1, quiet=False)
    names = {image["id"]: image["file_name"] for image in labels["images"]}
    beyond, empty = (f"the box of annotation {each['id']} in {names[each['image_id']]}" for each in (first, second))
    unknown = f"annotation {last['id']} of image id {last['image_id']} is of category 9, which is not defined"
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Training labels, ")]
    assert lines == [
        f"Training labels, cut to the image for training: {beyond}.",
        f"Training labels, left out of training for having no area: {empty}.",
        f"Training labels, left out: 1, the first being: {unknown}.",
    ]
    assert result["protocol"]["train"]["skipped"] == {"count": 1, "first": [unknown]}


def test_bfloat16_is_used_where_it_is_asked_for(shapes: Path, tmp_path: Path) -> None:
    small = {"iterations": 1, "architecture": "fpn", "short_side": 32, "regions": 2, "test_proposals": 2}
    result = tune_tiny(shapes, tmp_path / "run", precision="bf16", **small)
    assert result["protocol"]["precision"] == "bf16"
    tensors = load_file(tmp_path / "run" / "detector.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.float32, torch.int64}
    full = tune_tiny(shapes, tmp_path / "full", **small)
    [ours, theirs] = (first_loss(tmp_path / name) for name in ("run", "full"))
    assert ours != theirs
    assert ours == pytest.approx(theirs, rel=0.05)
    assert full["protocol"]["precision"] == "float32"
