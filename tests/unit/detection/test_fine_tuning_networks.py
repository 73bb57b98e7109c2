"""Fine-tuning of networks other than ResNets: weights, normalization, and stopping anywhere."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from manyview.backbones import build_backbone, save_backbone
from manyview.detection import loop
from manyview.detection.checkpoint import load_detector
from manyview.detection.predict import predict
from manyview.detection.schedule import learning_rate
from manyview.errors import UserError
from tests.helpers.shapes import tune_tiny, write_shapes

pytestmark = pytest.mark.usefixtures("narrow")

MEAN, STD = (0.5, 0.4, 0.3), (0.5, 0.6, 0.7)


def weights_of(name: str, folder: Path) -> dict[str, Any]:
    """A file of weights with their own normalization, as options of a fine-tuning."""
    torch.manual_seed(3)
    backbone = build_backbone(name)
    backbone.take_images(MEAN, STD, rgb=True)
    save_backbone(backbone, folder / "backbone.safetensors", {})
    given = {"weights": folder / "backbone.safetensors", "backbone": None}
    return {**given, "architecture": "fpn", "iterations": 2, "eval_every": None, "short_side": 64}


def test_a_network_of_timms_arrives_resumes_and_predicts(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "timm/test_efficientnet"
    options = weights_of(name, tmp_path)
    whole = tune_tiny(shapes, tmp_path / "whole", **options, quiet=False)
    match = f"17 of 17 convolutions and 13 of 13 normalization layers of {name} are in the fpn detector"
    assert match in capsys.readouterr().err
    assert (whole["protocol"]["backbone"], whole["protocol"]["architecture"]) == (name, "fpn")

    def interrupted(settings: Any, step: int) -> float:
        if step == 0:
            signal.raise_signal(signal.SIGINT)
        return learning_rate(settings, step)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tune_tiny(shapes, tmp_path / "parts", **options)
    tune_tiny(shapes, tmp_path / "parts", **options, resume=True)
    made, expected = (load_file(tmp_path / run / "detector.safetensors") for run in ("parts", "whole"))
    assert made.keys() == expected.keys()
    assert all(torch.equal(made[key], value) for key, value in expected.items())

    detector, description = load_detector(tmp_path / "whole")
    assert (description.backbone, description.mean, description.std) == (name, MEAN, STD)
    assert (detector.transform.image_mean, detector.transform.image_std) == ([*MEAN], [*STD])
    options = {"device": "cpu", "workers": 0, "score_threshold": 0.05}  # the detector's own, as in validation
    predict(tmp_path / "whole", images=shapes.parent, out=tmp_path / "found.json", **options)
    results = [json.loads(file.read_text()) for file in (tmp_path / "found.json", tmp_path / "whole" / "results.json")]
    found, validated = (sorted(entry["score"] for entry in entries) for entries in results)
    assert found == pytest.approx(validated, abs=1e-5)  # written with five digits


def test_c4_says_which_architecture_takes_the_network(shapes: Path, tmp_path: Path) -> None:
    options = {**weights_of("timm/test_efficientnet", tmp_path), "architecture": "c4"}
    with pytest.raises(UserError, match=r"c4 needs a torchvision ResNet .*; --architecture fpn takes other networks"):
        tune_tiny(shapes, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_files_of_12_bits_train_and_predict_as_those_of_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, deep = (write_shapes(tmp_path / name, 3) for name in ("plain", "deep"))
    for file in deep.parent.glob("*.png"):
        levels = cv2.imread(str(file)).astype(np.float64)
        cv2.imwrite(str(file), np.round(levels / 255 * 4095).astype(np.uint16))
    options: dict[str, Any] = {"architecture": "fpn", "iterations": 1, "eval_every": None, "short_side": 64}

    dark = tune_tiny(deep, tmp_path / "dark", **options, quiet=False)
    said = " ".join(capsys.readouterr().err.split())
    assert "(3 images measured), as of 12 bits: they are nearly black" in said
    assert "--bit-depth=12 makes 4,095 white" in said
    expected = tune_tiny(plain, tmp_path / "plain-run", **options)
    result = tune_tiny(deep, tmp_path / "deep-run", **options, bit_depth=12)

    made, usual, unlit = (
        load_file(tmp_path / run / "detector.safetensors") for run in ("deep-run", "plain-run", "dark")
    )
    assert all(torch.equal(made[key], value) for key, value in usual.items())
    assert any(not torch.equal(unlit[key], value) for key, value in usual.items())
    assert result["results"] == expected["results"]
    assert result["protocol"]["bit_depth"] == 12
    assert "bit_depth" not in expected["protocol"] | dark["protocol"]
    assert load_detector(tmp_path / "deep-run")[1].bit_depth == load_detector(tmp_path / "deep-run")[0].bit_depth == 12
    assert load_detector(tmp_path / "plain-run")[0].bit_depth is None
    for name, images in (("deep", deep), ("plain", plain)):
        found = tmp_path / f"{name}.json"
        predict(tmp_path / f"{name}-run", images=images.parent, out=found, draw=1, workers=0, device="cpu")
    assert (tmp_path / "deep.json").read_bytes() == (tmp_path / "plain.json").read_bytes()
    assert (tmp_path / "deep.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
