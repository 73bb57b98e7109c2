"""Fine-tuning of networks other than ResNets: weights, normalization, and stopping anywhere."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from manyview.backbones import build_backbone, save_backbone
from manyview.detection import loop
from manyview.detection.checkpoint import load_detector
from manyview.detection.predict import predict
from manyview.detection.schedule import learning_rate
from manyview.errors import UserError
from tests.helpers.shapes import tune_tiny

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
    predict(tmp_path / "whole", images=shapes.parent, out=tmp_path / "found.json", device="cpu", workers=0)
    results = [json.loads(file.read_text()) for file in (tmp_path / "found.json", tmp_path / "whole" / "results.json")]
    assert sorted(entry["score"] for entry in results[0]) == sorted(entry["score"] for entry in results[1])


def test_c4_says_which_architecture_takes_the_network(shapes: Path, tmp_path: Path) -> None:
    options = {**weights_of("timm/test_efficientnet", tmp_path), "architecture": "c4"}
    with pytest.raises(UserError, match=r"c4 needs a torchvision ResNet .*; --architecture fpn takes other networks"):
        tune_tiny(shapes, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
