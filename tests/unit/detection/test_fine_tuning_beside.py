"""A fine-tuning and the same from its baselines: in folders of their own, resumable, in one table."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from manyview.backbones import build_backbone, save_backbone
from manyview.detection import loop
from manyview.detection.schedule import learning_rate
from manyview.detection.tables import format_starts
from manyview.errors import UserError
from tests.helpers.shapes import tune_tiny
from tests.helpers.tables import cells, percent

pytestmark = pytest.mark.usefixtures("narrow")

SHORT: dict[str, Any] = {"iterations": 2, "eval_every": None, "precise_batches": 1}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("weights")
    files = [folder / "one.safetensors", folder / "other.safetensors"]
    for seed, (file, name) in enumerate(zip(files, ("resnet18", "resnet34"), strict=True)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            save_backbone(build_backbone(name), file, {})
    return files


def tune(shapes: Path, out: Path, start: Path, **options: Any) -> dict[str, Any]:
    return tune_tiny(shapes, out, **(SHORT | {"weights": start, "backbone": None} | options))


def tensors(run: Path) -> dict[str, Any]:
    return load_file(run / "detector.safetensors")


def assert_same(run: Path, expected: Path) -> None:
    ours, theirs = tensors(run), tensors(expected)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def signalling(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Let the process get SIGTERM in a step, counted over all starts from 1."""
    done: list[int] = []

    def rate(settings: Any, step: int) -> float:
        done.append(step)
        if len(done) == calls:
            signal.raise_signal(signal.SIGTERM)
        return learning_rate(settings, step)

    monkeypatch.setattr(loop, "learning_rate", rate)


def test_each_start_is_what_it_would_be_alone_also_when_it_was_stopped(
    shapes: Path,
    weights: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, other = weights
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        signalling(patch, 3)  # in the first step of the baseline
        with pytest.raises(SystemExit):
            tune(shapes, run, one, beside=["random", other])
    assert (run / "metrics.json").is_file()
    assert not (run / "beside" / "random_init" / "metrics.json").exists()
    with pytest.raises(UserError, match=r"holds a run that is done, .*; --resume adds what is beside it"):
        tune(shapes, run, one, beside=["random", other])
    result = tune(shapes, run, one, beside=["random", other], resume=True, quiet=False)
    assert json.loads((run / "metrics.json").read_text()) == result
    assert "Beside, asked for: Random init: 20 of 20 convolutions" in capsys.readouterr().err
    for name, start, network in (("random_init", "random", "resnet18"), ("other", other, None)):
        alone = tune(shapes, tmp_path / name, start, backbone=network)  # type: ignore[arg-type]
        assert_same(run / "beside" / name, tmp_path / name)
        assert result["beside"][name]["results"] == alone["results"]
        assert result["beside"][name]["protocol"] == alone["protocol"]
    assert result["beside"]["other"]["protocol"]["backbone"] == "resnet34"
    with pytest.raises(UserError, match=r"holds a run that is done, with its results in metrics\.json: choose another"):
        tune(shapes, run, one, beside=["random", other], resume=True)


def test_a_baseline_is_added_to_a_run_that_is_done(shapes: Path, weights: list[Path], tmp_path: Path) -> None:
    first = tune(shapes, tmp_path / "run", weights[0])
    assert "beside" not in first
    before = tensors(tmp_path / "run")
    # By default: nothing says how these weights began, so it is random initialization.
    result = tune(shapes, tmp_path / "run", weights[0], beside=None, resume=True)
    assert result["beside"].keys() == {"random_init"}
    assert {key: result[key] for key in first} == first
    assert all(torch.equal(value, before[name]) for name, value in tensors(tmp_path / "run").items())
    changed = {"seed": 4, "beside": ["random", weights[1]]}
    with pytest.raises(UserError, match="seed"):
        tune(shapes, tmp_path / "run", weights[0], **changed, resume=True)


def test_a_baseline_that_is_done_gets_into_the_result_of_the_run(
    shapes: Path, weights: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = weights
    with monkeypatch.context() as patch:
        signalling(patch, 5)  # in the first step of the second baseline
        with pytest.raises(SystemExit):
            tune(shapes, tmp_path / "run", one, beside=["random", other])
    assert (tmp_path / "run" / "beside" / "random_init" / "metrics.json").is_file()
    assert "beside" not in json.loads((tmp_path / "run" / "metrics.json").read_text())
    with pytest.raises(UserError, match="--resume adds what is beside it"):
        tune(shapes, tmp_path / "run", one, beside="random")
    result = tune(shapes, tmp_path / "run", one, beside="random", resume=True)  # who does not want the other any more
    assert result["beside"].keys() == {"random_init"}
    with pytest.raises(UserError, match=r"metrics\.json: choose another folder$"):
        tune(shapes, tmp_path / "run", one, beside="random", resume=True)


def test_a_baselines_folder_that_holds_something_else_is_refused_before_any_work(
    shapes: Path, weights: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        signalling(patch, 1)
        with pytest.raises(SystemExit):
            tune(shapes, tmp_path / "run", weights[0])
    (tmp_path / "run" / "beside" / "random_init").mkdir(parents=True)
    (tmp_path / "run" / "beside" / "random_init" / "notes.txt").touch()
    with pytest.raises(UserError, match=r"random_init is not empty"):
        tune(shapes, tmp_path / "run", weights[0], beside="random", resume=True)
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_one_table_of_all_starts() -> None:
    def result(average: float | None) -> dict[str, Any]:
        figures = {"AP": average, "AP50": 0.5, "AP75": 0.25}
        about = {"architecture": "fpn", "backbone": "resnet18", "iterations": 2000, "batch_size": 4, "seed": 0}
        return {"protocol": about, "results": {"box": figures, "voc": figures}}

    found = {**result(0.3), "beside": {"random_init": result(0.212), "initial": result(None), "b": result(0.4)}}
    stream = io.StringIO()
    Console(file=stream, width=80).print(format_starts(found))
    lines = stream.getvalue().splitlines()
    rows = [cells(line) for line in lines if line.startswith("│")]
    names = {"pre-trained": 0.3, "random init": 0.212, "the initial weights": None, "b": 0.4}
    assert rows == [
        [name, percent(average) if average else "-", "50.0", "25.0", "50.0"] for name, average in names.items()
    ]
    assert "+8.8 AP and +0.0 AP50 against random init, with one seed." in lines
    assert "+0.0 AP50 against the initial weights, with one seed." in lines
    assert "-10.0 AP and +0.0 AP50 against b, with one seed." in lines


def test_starts_are_checked_before_any_work(shapes: Path, weights: list[Path], tmp_path: Path) -> None:
    save_backbone(build_backbone("timm/test_resnet"), tmp_path / "timm.safetensors", {})
    for beside, message in (
        ("initial", "is not of a run"),
        (tmp_path / "timm.safetensors", "c4 needs a torchvision ResNet"),
    ):
        with pytest.raises(UserError, match=message):
            tune(shapes, tmp_path / "run", weights[0], beside=beside)
    assert not (tmp_path / "run").exists()
