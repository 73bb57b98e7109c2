"""Evaluations of a layer: stages, and the heads of a run."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from manyview.backbones import load_backbone
from manyview.backbones.beside import find_baselines
from manyview.backbones.build import untrained
from manyview.backbones.layers import HeadedBackbone
from manyview.errors import UserError
from manyview.evaluation import (
    compare,
    embed,
    extract,
    format_table,
    knn_evaluation,
    linear_evaluation,
    low_label_evaluation,
    read_features,
)
from manyview.evaluation.embed.write import format_written
from manyview.evaluation.features.layers import at_layer, at_same_layer
from manyview.heads import build_head
from manyview.runs import RunFolder
from tests.helpers.few_costs import few_costs
from tests.helpers.tiny import METHODS, train_tiny

__all__ = ["few_costs"]

pytestmark = pytest.mark.usefixtures("few_costs")

FAST: dict[str, Any] = {"size": 32, "workers": 0, "device": "cpu"}
KNN: dict[str, Any] = {**FAST, "neighbours": 3, "resamples": 20}


@pytest.fixture(scope="module")
def run(scenes: Any, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of SimSiam, with projector and predictor."""
    folder = tmp_path_factory.mktemp("layers") / "run"
    return train_tiny(scenes.images, folder, backbone="timm/test_resnet", epochs=1, batch_size=12, view_size=24)


def labels_of(scenes: Any) -> dict[str, Any]:
    return {"images": scenes.images, "train_labels": scenes.train, "val_labels": scenes.val}


def head(run: RunFolder, name: str) -> torch.nn.Module:
    """A head of the run, rebuilt by hand."""
    checkpoint, _ = run.checkpoints.load_newest()
    assert checkpoint is not None
    part = run.read_json("run.json")["method"]["parts"][name]
    built = build_head(part["layers"])
    prefix = f"model.{part['module']}."
    built.load_state_dict({k.removeprefix(prefix): v for k, v in checkpoint.tensors.items() if k.startswith(prefix)})
    return built.eval()


def test_features_are_those_of_the_runs_own_heads(scenes: Any, run: RunFolder) -> None:
    names = ["a/0.png", "b/1.png", "a/2.png"]
    features = {
        layer: extract(at_layer(load_backbone(run), layer, run), scenes.images, names, 32, workers=0)["avg"]
        for layer in (None, "projector", "predictor")
    }
    with torch.no_grad():
        z = head(run, "projector")(features[None])
        torch.testing.assert_close(features["projector"], z)
        torch.testing.assert_close(features["predictor"], head(run, "predictor")(z))


@pytest.mark.parametrize(("asked", "name", "dim"), [("stage2", "stage2", 48), (1, "stage1", 32), ("4", "stage4", 96)])
def test_the_record_names_the_stage(
    scenes: Any, run: RunFolder, asked: str | int, name: str, dim: int, tmp_path: Path
) -> None:
    result = knn_evaluation(run, **labels_of(scenes), **KNN, layer=asked, beside="random")
    protocol = result["protocol"]
    beside = protocol["beside"]["random_init"]
    assert (protocol["layer"], protocol["pool"], protocol["feature_dim"]) == (name, "gamp", dim)
    assert (beside["layer"], beside["feature_dim"]) == (name, dim)
    assert protocol["backbone"] == beside["backbone"] == "timm/test_resnet"


def test_without_a_layer_nothing_is_recorded_and_the_last_stage_is_the_same(scenes: Any, run: RunFolder) -> None:
    usual = knn_evaluation(run, **labels_of(scenes), **KNN, beside="random")
    last = knn_evaluation(run, **labels_of(scenes), **KNN, beside="random", layer="stage4")
    assert "layer" not in usual["protocol"]
    assert "layer" not in usual["protocol"]["beside"]["random_init"]
    assert last["results"] == usual["results"]
    first = knn_evaluation(run, **labels_of(scenes), **KNN, beside="random", layer="stage1")
    assert first["results"] != usual["results"]


def test_a_linear_evaluation_of_the_projector(scenes: Any, run: RunFolder, tmp_path: Path) -> None:
    result = linear_evaluation(
        run, **labels_of(scenes), **FAST, resamples=20, layer="projector", out=tmp_path / "projector"
    )
    protocol = result["protocol"]
    assert (protocol["layer"], protocol["pool"], protocol["feature_dim"]) == (
        "projector",
        "avg",  # which the projector takes
        METHODS["simsiam"]["projection_dim"],
    )
    assert protocol["beside"]["random_init"]["layer"] == "projector"
    assert protocol["beside"]["random_init"]["norm_statistics"] == "measured"
    stream = io.StringIO()
    Console(file=stream, width=120).print(format_table(result))
    assert "projector, avg at 32 px" in stream.getvalue()
    linear_evaluation(run, **labels_of(scenes), **FAST, resamples=20, pool="avg", out=tmp_path / "features")
    compared = compare([tmp_path / "projector", tmp_path / "features"])
    assert [row["group"] for row in compared["results"] if row["network"] == "pretrained"] == ["projector", "features"]
    assert any(re.match(r"layer is projector \(projector\), unset \(features\)", each) for each in compared["warnings"])


def test_random_initialization_has_random_heads(scenes: Any, run: RunFolder) -> None:
    evaluated = at_layer(load_backbone(run), "predictor", run)
    assert isinstance(evaluated, HeadedBackbone)
    [baseline] = find_baselines(run, "random")
    state = torch.get_rng_state()
    made = [at_same_layer(baseline, untrained(evaluated.whole, seed), evaluated, seed) for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), state)
    first, again, other = (each.heads.state_dict() for each in made if isinstance(each, HeadedBackbone))
    trained = evaluated.heads.state_dict()
    assert first.keys() == trained.keys()
    weights = [key for key in trained if key.endswith("weight") and trained[key].ndim == 2]
    assert all(torch.equal(first[key], again[key]) for key in first)
    for key in weights:
        assert not torch.equal(first[key], other[key])
        assert not torch.equal(first[key], trained[key])


def test_a_low_label_curve_and_a_file_of_features(scenes: Any, run: RunFolder, tmp_path: Path) -> None:
    options = {**FAST, "layer": "stage3", "beside": "none", "fractions": (1.0,), "seeds": (0,), "costs": (0.01,)}
    assert low_label_evaluation(run, **labels_of(scenes), **options)["protocol"]["layer"] == "stage3"
    record = embed(run, images=scenes.images, out=tmp_path / "z.npz", **FAST, layer="projector")
    assert record["protocol"]["layer"] == "projector"
    assert "features each (projector, avg at 32 px)" in format_written(record, tmp_path / "z.npz")
    stored = read_features(tmp_path / "z.npz")
    whole = at_layer(load_backbone(run), "projector", run)
    expected = extract(whole, scenes.images, list(stored.images), 32, workers=0)["avg"]
    np.testing.assert_allclose(stored.features, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "layer2"}, r"must be one of stage1, stage2, stage3, stage4, projector, predictor, not 'layer2'"),
        ({"layer": 5}, r"must be one of stage1, .*, not '5'"),
        ({"layer": 0}, r"must be one of stage1, .*, not '0'"),
        ({"layer": "projector", "pool": "cat"}, r"takes average-pooled features: leave out pool cat"),
    ],
)
def test_mistakes_are_named(scenes: Any, run: RunFolder, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        knn_evaluation(run, **labels_of(scenes), **KNN, **options)


def test_heads_need_their_run(scenes: Any, run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"projector is a head of a run, and .*backbone\.safetensors is none: give the"):
        knn_evaluation(scenes.weights, **labels_of(scenes), **KNN, layer="projector")
    with pytest.raises(UserError, match=r"is none: .*--beside random, --beside none"):
        knn_evaluation(run, **labels_of(scenes), **KNN, layer="projector", beside=scenes.weights)
    copied = RunFolder(tmp_path / "run")
    shutil.copytree(run.path, copied.path)
    about = copied.read_json("run.json")
    del about["method"]["parts"]["predictor"]
    copied.write_json("run.json", about)
    with pytest.raises(UserError, match=r"has no predictor \(its heads: projector\): choose another layer"):
        knn_evaluation(copied, **labels_of(scenes), **KNN, layer="predictor")
    shutil.rmtree(copied.path / "checkpoints")
    with pytest.raises(UserError, match=r"projector needs the checkpoint of .*checkpoints.*: choose one of its stages"):
        knn_evaluation(copied, **labels_of(scenes), **KNN, layer="projector")
