"""Baselines beside the weights in every evaluation: which, with which norms, and what is said of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from manyview.backbones import load_backbone, save_backbone
from manyview.backbones.build import untrained
from manyview.backbones.norm_statistics import set_norms
from manyview.errors import UserError
from manyview.evaluation import extract, knn_evaluation, linear_evaluation, low_label_evaluation
from manyview.evaluation.features.extract import FeatureSettings
from manyview.evaluation.features.norms import measure_on_images
from manyview.evaluation.probe.figure import draw_low_label_curve
from manyview.evaluation.tables import format_knn, format_low_label, format_table
from manyview.runs import sha256
from tests.helpers.random_weights import save_random

FAST: dict[str, Any] = {"size": 32, "workers": 0, "device": "cpu"}
EVALUATIONS: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, Any], Callable[[dict[str, Any]], Any]]] = {
    "linear": (linear_evaluation, {"cached": True, "epochs": 2, "resamples": 20, "recipe": "paper"}, format_table),
    "knn": (knn_evaluation, {"neighbours": 3, "resamples": 20}, format_knn),
    "probe": (low_label_evaluation, {"fractions": [1.0], "seeds": [0], "costs": [0.01]}, format_low_label),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that began from other weights, as far as evaluations read it."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    start = save_random(folder.parent / "start.safetensors")
    save_random(folder / "backbone.safetensors", seed=1)
    (folder / "config.json").write_text(json.dumps({"backbone": {"init": str(start)}}))
    (folder / "run.json").write_text(json.dumps({"init": {"file": str(start), "sha256": sha256(start)}}))
    return folder


def evaluate(name: str, weights: Path, scenes: Any, **more: Any) -> dict[str, Any]:
    function, options, _ = EVALUATIONS[name]
    labels = {"images": scenes.images, "train_labels": scenes.train, "val_labels": scenes.val}
    return function(weights, **(labels | FAST | options | more))


def printed(name: str, result: dict[str, Any]) -> str:
    stream = io.StringIO()
    Console(file=stream, width=80).print(EVALUATIONS[name][2](result))
    return stream.getvalue()


@pytest.mark.parametrize("name", EVALUATIONS)
def test_a_run_is_shown_beside_its_initial_weights(name: str, run: Path, scenes: Any) -> None:
    result = evaluate(name, run, scenes)
    assert list(result["results"]) == ["pretrained", "initial"] == ["pretrained", *result["differences"]]
    about = result["protocol"]["beside"]["initial"]
    assert about["weights_sha256"] == sha256(run.parent / "start.safetensors")
    alone = evaluate(name, run.parent / "start.safetensors", scenes, beside="none")
    assert result["results"]["initial"] == alone["results"]["pretrained"]
    assert (alone["differences"], alone["protocol"]["beside"]) == ({}, {})
    text = " ".join(printed(name, result).split())
    assert f"Beside: the initial weights, where the run began: {run.parent}" in text
    assert f"over the initial weights{' with 100 % of the labels' if name == 'probe' else ''} (95 %" in text.replace(
        "against", "over"
    )
    assert "Beside" not in printed(name, alone)
    assert "interval of" not in printed(name, alone)


@pytest.mark.parametrize("name", EVALUATIONS)
def test_the_difference_is_that_of_the_figures(name: str, run: Path, scenes: Any, tmp_path: Path) -> None:
    other = save_random(tmp_path / "backbone.safetensors", "timm/test_efficientnet")
    result = evaluate(name, run, scenes, beside=["random", other])
    assert list(result["results"]) == ["pretrained", "random_init", "backbone"]
    figures = {
        key: entry["mAP"] if name != "probe" else entry[-1]["summary"]["mAP"]["mean"]
        for key, entry in result["results"].items()
    }
    for beside, found in result["differences"].items():
        assert found["mAP"] == pytest.approx(figures["pretrained"] - figures[beside], abs=1e-12)
        assert found["interval"][0] <= found["interval"][1]
    assert result["protocol"]["beside"]["backbone"]["backbone"] == "timm/test_efficientnet"  # of another architecture
    assert result["protocol"]["beside"]["backbone"]["feature_dim"] == 256 != result["protocol"]["feature_dim"]


def test_untrained_norms_are_measured_unless_they_are_asked_to_be_0_and_1(drawn: Any, tmp_path: Path) -> None:
    results = {
        norms: evaluate("knn", drawn.weights, drawn, beside="random", untrained_norms=norms, seed=5)
        for norms in ("measured", "zero-one")
    }
    network = untrained(load_backbone(drawn.weights), 5)
    names = [line.split(",")[0] for line in drawn.train.read_text().splitlines()[1:]]
    plain = extract(network, drawn.images, names, 32, workers=0, device="cpu")["avg"]
    settings = FeatureSettings("gamp", 32, 0, "cpu", "auto")
    set_norms(network, measure_on_images(network, drawn.images, names, settings, 5))
    file = tmp_path / "measured.safetensors"
    save_backbone(network, file, {})
    expected = evaluate("knn", file, drawn, beside="none")["results"]["pretrained"]
    assert results["measured"]["results"]["random_init"]["AP"] == expected["AP"]
    assert results["zero-one"]["results"]["random_init"]["AP"] != expected["AP"]
    measured = extract(network, drawn.images, names, 32, workers=0, device="cpu")["avg"]
    assert (measured**2).sum(1).mean() > 2 * (plain**2).sum(1).mean()  # no longer squeezed
    about = {norms: result["protocol"]["beside"]["random_init"] for norms, result in results.items()}
    assert (about["measured"]["norm_statistics"], about["measured"]["norm_images"]) == ("measured", 24)
    assert about["zero-one"]["norm_statistics"] == "zero-one"
    assert "statistics measured on 24 training images" in " ".join(printed("knn", results["measured"]).split())
    with pytest.raises(UserError, match="untrained_norms must be measured or zero-one, not 'mean'"):
        evaluate("knn", drawn.weights, drawn, untrained_norms="mean")


def test_a_network_without_batch_norms_has_nothing_measured(scenes: Any, tmp_path: Path) -> None:
    save_random(tmp_path / "vit.safetensors", "timm/test_vit", in_channels=3)
    seen: list[str] = []
    result = evaluate(
        "knn", tmp_path / "vit.safetensors", scenes, size=160, progress=lambda done, total, phase: seen.append(phase)
    )
    assert result["protocol"]["beside"]["random_init"]["norm_statistics"] is None
    assert not any("norms" in phase for phase in seen)


def test_statistics_are_kept_for_resuming(scenes: Any, tmp_path: Path) -> None:
    def stop(done: int, total: int, phase: str) -> None:
        if phase == "random init: training features":
            raise KeyboardInterrupt

    given: dict[str, Any] = {"beside": "random", "out": tmp_path / "out"}
    with pytest.raises(KeyboardInterrupt):
        evaluate("linear", scenes.weights, scenes, **given, progress=stop)
    assert (tmp_path / "out" / "unfinished" / "random_init-norms.safetensors").is_file()
    with pytest.raises(UserError, match="beside"):
        evaluate("linear", scenes.weights, scenes, **(given | {"beside": "none"}), resume=True)
    seen: list[str] = []
    resumed = evaluate(
        "linear", scenes.weights, scenes, **given, resume=True, progress=lambda d, t, phase: seen.append(phase)
    )
    whole = evaluate("linear", scenes.weights, scenes, beside="random")
    assert "random init: statistics of the norms" not in seen
    assert {key: resumed[key] for key in ("results", "differences")} == {
        key: whole[key] for key in ("results", "differences")
    }


def test_the_curve_has_a_line_for_any_number_of_networks(run: Path, scenes: Any) -> None:
    result = evaluate("probe", run, scenes, beside="none")
    entries = result["results"]["pretrained"]
    many = dict.fromkeys(("pretrained", "initial", *(f"weights-{n}" for n in range(10)), "random_init"), entries)
    assert draw_low_label_curve({**result, "results": many}).startswith(b"\x89PNG")
    assert np.isfinite(entries[0]["summary"]["mAP"]["mean"])


def test_baselines_are_refused_before_anything_is_extracted(run: Path, scenes: Any) -> None:
    with pytest.raises(UserError, match="there is no such file or folder"):
        evaluate("knn", run, scenes, beside="nothing.pth", progress=lambda *_: pytest.fail("extracted"))
