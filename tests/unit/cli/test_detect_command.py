"""``manyview detect``: that options reach the library, and mistakes are reported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from manyview.cli.detect import detect
from manyview.errors import UserError
from tests.helpers.narrow import narrow
from tests.helpers.shapes import write_shapes

__all__ = ["narrow"]

pytestmark = pytest.mark.usefixtures("narrow")

FAST = ["--short-side", 32, "--batch-size", 2, "--regions", 4, "--test-proposals", 6, "--device", "cpu", "--workers", 0]


def call(*words: object) -> Result:
    app = typer.Typer()
    app.command()(detect)
    return CliRunner().invoke(app, [str(word) for word in words])


def mistake(*words: object) -> str:
    """The sentence of a mistake."""
    result = call(*words)
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    labels = write_shapes(tmp_path_factory.mktemp("shapes"), 3)
    return ["--images", labels.parent, "--train-labels", labels, "--val-labels", labels]


def test_training_then_predicting(data: list[object], tmp_path: Path) -> None:
    run = tmp_path / "my run"
    start = ["random", "--backbone", "resnet18", "--out", run, "--recipe", "coco-1x", "--architecture", "fpn"]
    options = ["--iterations", 2, "--masks", "--draw", 1, "--precise-batches", 1, "--seed", 3, "--eval-every", 1]
    result = call(*start, *data, *FAST, *options)
    assert result.exception is None, result.exception
    protocol = json.loads((run / "metrics.json").read_text())["protocol"]
    expected = {"recipe": "coco-1x", "architecture": "fpn", "masks": True, "iterations": 2, "seed": 3, "regions": 4}
    expected |= {"batch_size": 2, "learning_rate": 0.005, "test_proposals": 6, "precise_batches": 1, "eval_every": 1}
    assert {key: protocol[key] for key in expected} == expected
    assert (run / "predictions.png").is_file()
    assert "2 iterations of 2 images" in result.stderr
    assert f"manyview detect --predict '{run}' --images FOLDER --out found.json" in result.stderr
    assert result.stderr.startswith("Random init: 20 of 20 convolutions and ")
    assert re.search(r"^Iteration 2, in %: COCO box AP [\d.]+, .*; COCO mask AP [\d.]+, ", result.stderr, re.MULTILINE)
    assert "AP by class (%): " in result.stdout
    assert re.search(
        r"^│(disc|square|triangle) +│ +\d+ │ +\d+ │ +[\d.]+ │ +[\d.]+ │ +[\d.]+│$", result.stdout, re.MULTILINE
    )
    assert "passes over 3 images: train longer, about 1,000 iterations (--iterations 1000)." in result.stdout
    assert sorted(file.name for file in (run / "predictions").iterdir()) == ["001-00.png"]
    found = tmp_path / "found.json"
    kept = ["--draw", 2, "--score-threshold", 0.02, "--detections", 5, "--draw-threshold", 0.9]
    result = call("--predict", run, *data[:2], "--out", found, "--workers", 0, "--device", "cpu", *kept)
    assert result.exception is None, result.exception
    assert "detections in 3 images: those that score 0.02 or more, at most 5 an image." in result.stdout
    assert "Drawn: 2 images; none above 0.9 in any of them, best 0." in result.stdout
    assert re.search(r"\(the first has [\d.]+ kB\)", result.stdout)
    assert str(found) in result.stdout
    assert len(json.loads((tmp_path / "found-images.json").read_text())["images"]) == 3


def test_yolo_files_are_labels(data: list[object], tmp_path: Path) -> None:
    labels = json.loads(Path(str(data[3])).read_text())
    lines: dict[int, str] = {image["id"]: "" for image in labels["images"]}
    for annotation in labels["annotations"]:
        left, top, width, height = (number / 64 for number in annotation["bbox"])
        outline = (left, top, left + width, top, left + width, top + height, left, top + height)
        lines[annotation["image_id"]] += f"{annotation['category_id'] - 1} {' '.join(map(str, outline))}\n"
    folder = tmp_path / "labels"
    folder.mkdir()
    for image in labels["images"]:
        (folder / image["file_name"]).with_suffix(".txt").write_text(lines[image["id"]])
    (tmp_path / "data.yaml").write_text("names: [disc, square, triangle]\n")
    start = ["random", "--backbone", "resnet18", "--architecture", "fpn", "--masks", "--iterations", 1]
    given = ["--train-labels", folder, "--val-labels", folder, "--out", tmp_path / "run"]
    result = call(*start, *data[:2], *given, *FAST, "--precise-batches", 1)
    assert result.exception is None, result.exception
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["protocol"]["classes"] == ["disc", "square", "triangle"]
    assert metrics["results"]["mask"].keys() == metrics["results"]["box"].keys()


@pytest.mark.parametrize(
    ("left_out", "sentence"),
    [
        (0, "--images is missing: give the folder that the names in "),
        (2, "--train-labels is missing; see manyview detect --help"),
        (4, "--val-labels is missing: "),
        (None, "--out is missing; see manyview detect --help"),
    ],
)
def test_what_is_missing(data: list[object], tmp_path: Path, left_out: int | None, sentence: str) -> None:
    words = [*data, *([] if left_out is None else ["--out", tmp_path / "run"])]
    if left_out is not None:
        del words[left_out : left_out + 2]
    assert mistake("weights.pth", *words).startswith(sentence)


@pytest.mark.parametrize(("left_out", "option"), [(0, "--images"), (2, "--out")])
def test_what_prediction_needs_is_missing(tmp_path: Path, left_out: int, option: str) -> None:
    words = ["--images", tmp_path, "--out", tmp_path / "found.json"]
    del words[left_out : left_out + 2]
    assert mistake("--predict", tmp_path, *words) == f"{option} is missing; see manyview detect --help"


def test_options_that_prediction_would_not_read_are_refused(data: list[object], tmp_path: Path) -> None:
    words = ["--predict", tmp_path, *data[:2], "--out", tmp_path / "found.json"]
    assert "--iterations has no effect with --predict" in mistake(*words, "--iterations", 5)
    assert "WEIGHTS has no effect with --predict" in mistake("weights.pth", *words)
    assert "--masks has no effect with --predict" in mistake(*words, "--masks")
    training = ["weights.pth", *data, "--out", tmp_path / "run"]
    assert "--score-threshold has no effect without --predict" in mistake(*training, "--score-threshold", 0.1)
    assert "there is no " in mistake(*words)
