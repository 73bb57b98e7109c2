"""What evaluations record of features, weights and the choice of metrics."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from manyview.backbones import load_backbone
from manyview.errors import UserError
from manyview.evaluation.data import Sources
from manyview.evaluation.features.extract import FeatureSettings
from manyview.evaluation.settings import MetricSettings, describe_features, describe_loading
from manyview.runs.files import plain
from tests.helpers.checkpoint_files import LAYOUTS, network


@pytest.fixture(scope="module")
def moco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as MoCo v2's program leaves it."""
    return LAYOUTS["moco"].write(network("resnet18").state_dict(), tmp_path_factory.mktemp("moco"))


def described(scenes: Any, weights: Path, **options: Any) -> dict[str, Any]:
    data = Sources(scenes.images, scenes.train, scenes.val).read()
    settings = FeatureSettings(**({"pool": "gamp", "size": 32, "workers": 0, "device": "cpu"} | options))
    return describe_features(settings, data, weights, load_backbone(weights))


def test_it_says_how_the_weights_were_loaded(moco: Path) -> None:
    backbone = load_backbone(moco)
    loading = describe_loading(backbone.loading)
    assert loading is not None
    assert json.loads(json.dumps(loading)) == loading
    assert loading["summary"] == str(backbone.loading)
    assert {key: loading[key] for key in ("format", "inferred", "convolutions", "norms")} == {
        "format": "MoCo v2",
        "inferred": True,
        "convolutions": [20, 20],
        "norms": [20, 20],
    }
    dropped = loading["dropped"]
    assert {what: entry["count"] for what, entry in dropped.items()} == {
        "the projector": 2,
        "the momentum encoder": 122,
        "the queue of negatives": 2,
    }
    assert dropped["the queue of negatives"]["first"] == ["module.queue", "module.queue_ptr"]
    names = dropped["the momentum encoder"]["first"]
    assert len(names) == 10
    assert all(name.startswith("module.encoder_k.") for name in names)
    assert describe_loading(None) is None


def test_it_says_all_that_features_and_labels_depend_on(scenes: Any, moco: Path) -> None:
    found = described(scenes, moco, pool="cat", precision="auto")
    assert json.loads(json.dumps(found)) == found
    expected = {
        "backbone": "resnet18",
        "weights": str(moco),
        "weights_sha256": hashlib.sha256(moco.read_bytes()).hexdigest(),
        "pool": "cat",
        "feature_dim": 1024,
        "size": 32,
        "crop": "warp",
        "bands": "rgb",
        "precision": "float32",
        "device": "cpu",
        "classes": ["green", "red"],
        "images_in_both": 0,
    }
    assert {key: found[key] for key in expected} == expected
    assert found["val_transform"].startswith("warped to size")
    assert found["loading"]["format"] == "MoCo v2"
    assert found["normalisation"] == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    assert found["versions"]["torch"] == torch.__version__
    assert (found["train"]["count"], found["val"]["count"]) == (24, 12)
    center = described(scenes, moco, crop="center", precision="float32")
    assert center["crop"] == "center"
    assert "cropped at the centre" in center["val_transform"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "middle"}, "crop must be one of warp, center, not 'middle'"),
        ({"pool": "mean"}, "pool must be one of gamp, avg, max, avg_minus_max, cat, not 'mean'"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
    ],
)
def test_settings_of_features_are_checked_when_made(options: dict[str, Any], message: str) -> None:
    usual = {"pool": "gamp", "size": 32, "workers": None, "device": "cpu", "precision": "float32"}
    with pytest.raises(UserError, match=message):
        FeatureSettings(**(usual | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold is a probability from 0 to 1, not 1.5"),
        ({"average_precision": "voc12"}, "average_precision must be all_points or voc07, not 'voc12'"),
        ({"compatibility": "coco"}, "compatibility must be ml-gcn, or left out, not 'coco'"),
    ],
)
def test_settings_of_metrics_are_checked_when_made(options: dict[str, Any], message: str) -> None:
    unchecked: Any = inspect.unwrap(MetricSettings.__init__)  # the tests' own type checks would refuse them first
    with pytest.raises(UserError, match=message):
        unchecked(object.__new__(MetricSettings), **options)


def test_plain_data_has_no_nan() -> None:
    nested = {"AP": [0.5, float("nan")], "intervals": {"mAP": (float("nan"), 1.0)}, "n": 3, "name": "x", "none": None}
    assert plain(nested) == {"AP": [0.5, None], "intervals": {"mAP": [None, 1.0]}, "n": 3, "name": "x", "none": None}
