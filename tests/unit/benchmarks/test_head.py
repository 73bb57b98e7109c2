from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.evaluation import head
from manyview.backbones import build_backbone, save_backbone
from manyview.scenes import write_scenes


def test_both_heads_are_measured_on_the_same_features(tmp_path: Path) -> None:
    write_scenes(tmp_path, 80, size=(48, 48), val_share=0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        save_backbone(build_backbone("timm/test_resnet"), tmp_path / "w.safetensors", {})
    page = tmp_path / "page.md"
    page.write_text("<!-- head -->\n<!-- end of head -->\n")
    data = ["--images", str(tmp_path / "images"), "--train", str(tmp_path / "train.csv")]
    data += ["--val", str(tmp_path / "val.csv"), "--size", "32", "--workers", "0", "--weight-decay", ".01"]
    head.main([str(tmp_path / "w.safetensors"), *data, "--out", str(tmp_path / "out.json"), "--page", str(page)])

    result = json.loads((tmp_path / "out.json").read_text())
    found = result["weights"][0]
    assert (found["train_images"], found["val_images"], found["classes"]) == (40, 40, 10)
    assert found["C"] == pytest.approx(1 / (0.01 * 40 * 10))
    assert found["difference_in_points"] == pytest.approx(100 * (found["head_mAP"] - found["scikit_learn_mAP"]))
    # Some 50 dimensions, 100 steps and strong decay: the two are nearly the same.
    assert abs(found["difference_in_points"]) < 2
    assert f"| {100 * found['scikit_learn_mAP']:.2f} |" in page.read_text()


def test_the_bias_is_regularized_like_the_rest() -> None:
    """One feature that is always 0: the bias alone b minimizes C n log-loss + b^2 / 2, so C sum(p - y) + b = 0."""
    targets = np.array([[1], [1], [1], [0]])
    features = np.column_stack([np.zeros(4), np.ones(4)])
    bias = float(head.logistic_regression(features, features, targets, 0.5)[0, 0])
    assert 0.5 * (4 / (1 + np.exp(-bias)) - 3) + bias == pytest.approx(0, abs=1e-6)
