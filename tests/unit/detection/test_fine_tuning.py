"""A fine-tuning as a whole: what it leaves, that it can be stopped anywhere, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from manyview.detection import evaluate as evaluating
from manyview.detection import loop, run_files
from manyview.detection.checkpoint import load_detector
from manyview.detection.metrics import coco_average_precision, read_results, voc_average_precision
from manyview.detection.schedule import learning_rate
from manyview.errors import UserError
from manyview.images import open_image
from manyview.labels import read_annotations
from manyview.runs import RunFolder
from tests.helpers.shapes import tune_tiny

pytestmark = pytest.mark.usefixtures("narrow")

PARTS = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}


@pytest.fixture(scope="module")
def whole(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    tune_tiny(shapes, out, draw=2)
    return out


def lines(run: Path) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    clocks = {"seconds_per_iteration", "waiting", "seconds"}
    records = RunFolder(run).read_metrics()
    return [{key: value for key, value in record.items() if key not in clocks} for record in records]


def signalling(monkeypatch: pytest.MonkeyPatch, iteration: int, number: signal.Signals = signal.SIGINT) -> None:
    """Let the process get a signal in an iteration, counted from 1."""

    def rate(settings: Any, step: int) -> float:
        if step == iteration - 1:
            signal.raise_signal(number)
        return learning_rate(settings, step)

    monkeypatch.setattr(loop, "learning_rate", rate)


def assert_same_run(run: Path, whole: Path) -> None:
    weights, expected = (load_file(folder / "detector.safetensors") for folder in (run, whole))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert lines(run) == lines(whole)
    for part in ("results", "by_iteration", "protocol"):
        assert json.loads((run / "metrics.json").read_text())[part] == result_of(whole)[part]


def result_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return content


def test_what_a_run_leaves(whole: Path) -> None:
    assert {path.name for path in whole.iterdir()} - {".lock"} == {
        *("config.json", "run.json", "metrics.json", "metrics.jsonl"),
        *("detector.safetensors", "results.json", "predictions.png", "predictions"),
    }
    assert [file.name for file in sorted((whole / "predictions").iterdir())] == ["001-00.png", "002-02.png"]
    log = lines(whole)
    assert [(line["kind"], line["step"]) for line in log] == [("evaluation", 3), ("training", 6), ("evaluation", 6)]
    assert log[1].keys() == {"kind", "step", "learning_rate", "loss", *PARTS}
    assert log[1]["loss"] == pytest.approx(sum(log[1][part] for part in PARTS), rel=1e-6)
    result = result_of(whole)
    assert [entry["iteration"] for entry in result["by_iteration"]] == [3, 6]
    assert result["results"] == log[2]["results"]
    assert [each["class"] for each in result["by_class"]] == ["disc", "square", "triangle"]
    assert [each["box_AP"] for each in result["by_class"]] == result["results"]["box"]["AP_by_class"]
    assert sum(each["objects"] for each in result["by_class"]) == result["protocol"]["val"]["objects"]
    assert result["remarks"] == [] or "train longer, about 1,000 iterations" in result["remarks"][0]
    assert result["provenance"]["seconds"] > 0
    assert result["protocol"]["train"]["photographs"] == 5
    assert result["protocol"]["weights"].startswith("random")
    assert result["protocol"] == json.loads((whole / "config.json").read_text())


def test_figures_are_those_of_the_result_file(shapes: Path, whole: Path) -> None:
    labels = read_annotations(shapes, shapes.parent)
    found = read_results(whole / "results.json", labels)
    assert {entry["image_id"] for entry in found} <= set(labels.image_ids)
    measured = result_of(whole)["results"]
    coco, voc = coco_average_precision(labels, found, ("bbox",))["box"], voc_average_precision(labels, found)
    for key in ("AP", "AP50", "AP75"):
        assert measured["box"][key] == coco[key]
        assert measured["voc"][key] == voc[key]


def test_the_file_holds_the_detector_that_was_measured(shapes: Path, whole: Path) -> None:
    detector, description = load_detector(whole)
    assert (description.classes, description.category_ids) == (("disc", "square", "triangle"), (1, 2, 3))
    assert description.iteration == 6
    assert not detector.training
    found = json.loads((whole / "results.json").read_text())
    pixels = open_image(shapes.parent / "02.png").decode()
    with torch.no_grad():
        [output] = detector([torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255])
    assert output["scores"].double().tolist() == [entry["score"] for entry in found if entry["image_id"] == 3]


def test_measuring_changes_nothing_of_the_training(shapes: Path, whole: Path, tmp_path: Path) -> None:
    tune_tiny(shapes, tmp_path / "run", eval_every=None)
    weights, expected = (load_file(folder / "detector.safetensors") for folder in (tmp_path / "run", whole))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_stopped_in_training_and_resumed(
    shapes: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        signalling(patch, 5, signal.SIGTERM)
        with pytest.raises(SystemExit) as caught:
            tune_tiny(shapes, tmp_path / "run")
    assert caught.value.code == 143
    assert not (tmp_path / "run" / "metrics.json").exists()
    tune_tiny(shapes, tmp_path / "run", resume=True, workers=2)
    assert_same_run(tmp_path / "run", whole)


def test_stopped_in_a_measurement_and_resumed(
    shapes: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = evaluating.find_objects

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return find(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(evaluating, "find_objects", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tune_tiny(shapes, tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()  # neither measured nor at a tenth iteration
    tune_tiny(shapes, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole)


def test_a_kill_before_the_first_checkpoint_costs_the_iterations_alone(
    shapes: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> float:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", killed)
        with pytest.raises(RuntimeError):
            tune_tiny(shapes, tmp_path / "run")
    tune_tiny(shapes, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole)


def test_a_failure_after_the_last_measurement_does_not_cost_it(
    shapes: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(run_files, "draw_validation", fail)
        with pytest.raises(OSError):
            tune_tiny(shapes, tmp_path / "run", draw=1)
    with monkeypatch.context() as patch:
        patch.setattr(evaluating, "find_objects", fail)
        tune_tiny(shapes, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole)


@pytest.fixture(scope="module")
def template(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run stopped after its second iteration."""
    out = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        signalling(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            tune_tiny(shapes, out)
    return out


@pytest.fixture
def stopped(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "run"))


def test_a_run_is_not_resumed_in_another_way(shapes: Path, stopped: Path) -> None:
    with pytest.raises(UserError) as caught:
        tune_tiny(shapes, stopped, resume=True, learning_rate=0.02, seed=4)
    assert re.search(
        r"learning_rate was 0\.01, now 0\.02; seed was 0, now 4; resume it with the same", str(caught.value)
    )
    labels = json.loads(shapes.read_text())
    del labels["annotations"][0]
    other = shapes.parent.parent / "other.json"
    other.write_text(json.dumps(labels))
    count = len(labels["annotations"])
    fingerprints = r'train\.fingerprint was "\w+\.\.\., now "\w+\.\.\.'
    message = rf"settings: train\.objects was {count + 1}, now {count}; {fingerprints}; resume"
    with pytest.raises(UserError, match=message):
        tune_tiny(shapes, stopped, resume=True, train_labels=other)


def test_a_run_is_not_resumed_with_another_normalization(shapes: Path, stopped: Path) -> None:
    with pytest.raises(
        UserError, match=r"normalisation\.mean was null, now \[0\.5, 0\.5, 0\.5\].*resume it with the same"
    ):
        tune_tiny(shapes, stopped, resume=True, mean=0.5)


def test_damaged_checkpoints(shapes: Path, stopped: Path) -> None:
    [checkpoint] = (stopped / "checkpoints").glob("*.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="no usable checkpoint is left"):
        tune_tiny(shapes, stopped, resume=True)


@pytest.mark.parametrize(
    ("resume", "message"), [(False, "already holds a run; continue it with --resume"), (True, "holds no run to resume")]
)
def test_folders_that_do_not_fit(shapes: Path, stopped: Path, tmp_path: Path, resume: bool, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tune_tiny(shapes, tmp_path / "new" if resume else stopped, resume=resume)


def test_a_run_that_is_done_stays(shapes: Path, whole: Path) -> None:
    for resume in (False, True):
        with pytest.raises(UserError, match=r"whole holds a run that is done, .* metrics\.json"):
            tune_tiny(shapes, whole, resume=resume)
