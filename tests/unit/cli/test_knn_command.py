"""``manyview knn`` and ``manyview probe``: that options reach the evaluation, and mistakes are reported in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from manyview.backbones import build_backbone, save_backbone
from manyview.cli.main import main
from manyview.evaluation.knn import knn_evaluation
from manyview.evaluation.probe.evaluate import low_label_evaluation
from tests.helpers.few_costs import fewer_costs
from tests.helpers.narrow import narrow
from tests.helpers.tables import percent

__all__ = ["narrow"]

pytestmark = pytest.mark.usefixtures("narrow")
Call = Callable[..., tuple[int, str, str]]

FAST: dict[str, Any] = {"size": 32, "workers": 0, "device": "cpu"}
SHARED: dict[str, Any] = {  # by both verbs; each value other than the default
    "crop": "center",
    "average_precision": "voc07",
    "compatibility": "ml-gcn",
    "difficult": "positive",
    "label_problems": "skip",
    "beside": "random",
}


@pytest.fixture(scope="module")
def given(photos: Path, tmp_path_factory: pytest.TempPathFactory, narrow: None) -> dict[str, Path]:
    """Weights, images and label files, by the names of the functions' arguments."""
    root = tmp_path_factory.mktemp("given")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        save_backbone(build_backbone("resnet18"), root / "weights.safetensors", {})
    names = sorted(path.name for path in photos.iterdir())
    half = len(names) // 2
    for file, part in (("train.csv", names[:half]), ("val.csv", names[half:])):
        rows = [f"{name},{('odd', 'even', 'odd|even')[n % 3]}" for n, name in enumerate(part)]
        (root / file).write_text("\n".join(["image,labels", *rows]) + "\n")
    labels = {"train_labels": root / "train.csv", "val_labels": root / "val.csv"}
    return {"weights": root / "weights.safetensors", "images": photos, **labels}


@pytest.fixture
def call(given: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls a verb in this process: exit status, standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "140")
    words = [given["weights"], "--images", given["images"]]
    words += ["--train-labels", given["train_labels"], "--val-labels", given["val_labels"]]

    def run(verb: str, *options: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["manyview", verb, *map(str, [*words, *as_words(FAST), *options])])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return run


def as_words(options: Mapping[str, object]) -> list[object]:
    """Arguments of a function as options of its verb; a list as one option for each value."""
    return [
        word
        for name, value in options.items()
        for one in (value if isinstance(value, list) else [value])
        for word in ["--" + name.replace("_", "-"), *([] if one is True else [one])]
    ]


def test_knn_passes_every_option_on(call: Call, given: dict[str, Path], tmp_path: Path) -> None:
    options: dict[str, Any] = {"pool": "cat", "neighbours": 3, "temperature": 0.5, "threshold": 0.4, "resamples": 7}
    options |= SHARED | {"seed": 2}
    status, out, err = call("knn", *as_words(options), "--out", tmp_path)
    assert (status, err) == (0, "")
    written = json.loads((tmp_path / "metrics.json").read_text())
    expected = knn_evaluation(**given, **FAST, **options)
    assert written["protocol"] == expected["protocol"]
    assert written["results"] == expected["results"]
    assert (written["protocol"]["crop"], written["protocol"]["val"]["difficult"]) == ("center", "positive")
    assert percent(written["results"]["random_init"]["mAP"]) in out
    assert out.startswith("resnet18 from a checkpoint in the format of manyview: 20 of 20 convolutions")
    assert "best F1 on train" in out
    assert "metrics.json" in out


@fewer_costs()
def test_probe_passes_every_option_on(call: Call, given: dict[str, Path], tmp_path: Path) -> None:
    options = SHARED | {"pool": "max", "scaling": "standardised", "classifier": "svm"}
    several = {"fraction": [0.5, 1.0], "seed": [3, 1], "cost": [0.1, 2.0]}
    status, out, err = call("probe", *as_words(options | several), "--out", tmp_path)
    assert (status, err) == (0, "")
    written = json.loads((tmp_path / "metrics.json").read_text())
    plural = {f"{name}s": values for name, values in several.items()}
    expected = low_label_evaluation(**given, **FAST, **options, **plural)
    assert written["protocol"] == expected["protocol"]
    assert written["results"] == expected["results"]
    assert f"{percent(written['results']['pretrained'][0]['summary']['mAP']['mean'])} ±" in out
    assert "curve.png" in out
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@fewer_costs()
def test_probe_without_options_draws_three_fractions_with_three_seeds(call: Call, tmp_path: Path) -> None:
    assert call("probe", "--out", tmp_path)[0] == 0
    protocol = json.loads((tmp_path / "metrics.json").read_text())["protocol"]
    shown = {key: protocol[key] for key in ("fractions", "seeds", "costs", "classifier")}
    assert shown == {"fractions": [0.01, 0.1, 1], "seeds": [0, 1, 2], "costs": [], "classifier": "logistic"}


@fewer_costs()
@pytest.mark.parametrize("verb", ["knn", "probe"])
def test_labels_that_cannot_be_used_are_refused_or_skipped(
    call: Call, given: dict[str, Path], tmp_path: Path, verb: str
) -> None:
    labels = tmp_path / "train.csv"
    labels.write_text(given["train_labels"].read_text() + "none.jpg,odd\n")
    options = ["--train-labels", labels, *(("--neighbours", 3) if verb == "knn" else ("--fraction", 1))]
    status, out, err = call(verb, *options)
    assert (status, out) == (2, "")
    assert "none.jpg, which is missing" in err
    status, out, err = call(verb, *options, "--label-problems", "skip")
    assert (status, err) == (0, "")
    assert "1 label row was left out of train.csv: line 10 names none.jpg, which is missing." in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["knn", "--neighbours", 0], "neighbours must be at least 1, not 0"),
        (["knn", "--crop", "middle"], "crop must be one of warp, center, not 'middle'"),
        (["probe", "--fraction", 2], "fraction is a share of the images above 0 and up to 1, not 2.0"),
        (["probe", "--classifier", "tree"], "classifier must be one of logistic, svm, not 'tree'"),
    ],
)
def test_mistakes_are_reported_in_one_line(call: Call, words: list[object], message: str) -> None:
    assert call(*words) == (2, "", f"Error: {message}\n")
