from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.evaluation import quality
from manyview.backbones import build_backbone, save_backbone
from manyview.evaluation.data import Sources
from manyview.scenes import write_scenes

NAME = "timm/test_resnet"


@pytest.fixture
def options(tmp_path: Path):
    write_scenes(tmp_path, 40, size=(32, 32), val_share=0.5)
    files = {"train": tmp_path / "train.csv", "val": tmp_path / "val.csv", "out": tmp_path}
    given = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    return quality.parse([str(tmp_path / "images"), *given, "--eval-size", "32"])


def test_logistic_regression_of_each_network_and_pooling(options) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        save_backbone(build_backbone(NAME), options.out / "w.safetensors", {})
    found = quality.logistic_regression("row", options.out / "w.safetensors", options, random_init=True)
    assert found.keys() == set(quality.POOLS)
    for networks in found.values():
        assert networks.keys() == {"pretrained", "random_init"}
        for figures in networks.values():
            assert 0 < figures["mAP"] <= 1
            assert figures["cross_validated"][figures["cost"]] == max(figures["cross_validated"].values())
    kept = json.loads((options.out / "row-logistic.json").read_text())
    assert quality.logistic_regression("row", Path("gone"), options, random_init=True) == kept
    assert kept["avg"]["pretrained"]["mAP"] == found["avg"]["pretrained"]["mAP"]


def test_norms_are_measured_on_the_training_images_few_as_they_may_be(options) -> None:
    data = Sources(options.images, options.train, options.val).read()
    network = quality.measured(build_backbone(NAME), data, options)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert not np.allclose(norms[0].running_mean, 0)
    assert not network.training
