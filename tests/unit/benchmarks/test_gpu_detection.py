"""The step that fine-tunes detectors: whose images and weights, and what is left when its time is up."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu.job import Job
from benchmarks.gpu.job import main as run_step
from benchmarks.gpu.steps import LIMITS, detection
from manyview.backbones import build_backbone, save_backbone
from manyview.runs import RunFolder
from tests.helpers.narrow import narrow
from tests.helpers.shapes import write_shapes

__all__ = ["narrow"]

pytestmark = pytest.mark.usefixtures("narrow")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that give images, boxes and weights."""
    folder = tmp_path_factory.mktemp("own")
    train, val = write_shapes(folder, 4), write_shapes(folder / "val", 3, seed=1)
    moved = json.loads(val.read_text())
    for image in moved["images"]:
        image["file_name"] = f"val/{image['file_name']}"
    val.write_text(json.dumps(moved))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        save_backbone(build_backbone("resnet18"), folder / "own.safetensors", {})
    places = {"--boxes": folder, "--train-boxes": train, "--val-boxes": val, "--weights": folder / "own.safetensors"}
    return [str(word) for pair in places.items() for word in pair]


def run(own: list[str], place: Path, *options: str) -> tuple[int, dict[str, Any]]:
    words = ["detection", "--tiny", "--out", str(place), "--work", str(place / "work"), *own, *options]
    code = run_step("detection", "200", *words)
    return code, json.loads((place / "detection.json").read_text())


def test_images_boxes_weights_and_options_of_ones_own(own: list[str], tmp_path: Path) -> None:
    code, result = run(own, tmp_path, "--detection", "--iterations 3 --architecture fpn")
    assert code == 0, result
    assert "pretraining" not in result
    assert result["settings"]["photographs"] == "photos"
    for name in ("random-init", "own.safetensors"):
        protocol = result[name]["result"]["protocol"]
        assert (protocol["iterations"], protocol["architecture"]) == (3, "fpn")
        assert protocol["classes"] == ["disc", "square", "triangle"]
        assert (protocol["train"]["photographs"], protocol["val"]["photographs"]) == (4, 3)
    assert result["own.safetensors"]["result"]["protocol"]["weights"] == own[-1]


def test_pretraining_sees_no_image_to_measure_on(own: list[str], tmp_path: Path) -> None:
    job = Job("detection", 60, ["--tiny", "--out", str(tmp_path), "--work", str(tmp_path / "work"), *own])
    boxes, train = job.options.boxes, job.options.train_boxes
    root, names = detection.unlabeled(job, boxes, train)
    assert root == boxes
    assert sorted(names) == [f"{index:02d}.png" for index in range(4)]
    job.options.photos = boxes / "val"
    root, names = detection.unlabeled(job, boxes, train)
    assert root == boxes / "val"
    assert list(names) == [f"{index:02d}.png" for index in range(3)]


def test_a_row_that_is_stopped_leaves_what_it_has_logged(
    own: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [{"step": 2, "kind": "training", "loss": 3.0}, {"step": 2, "kind": "evaluation", "results": {"AP": 0.1}}]

    def stopped(name: str, options: Any) -> None:
        folder = RunFolder(options.out / name)
        folder.path.mkdir(parents=True)
        for line in lines if name == "random-init" else []:
            folder.append_metrics(line)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(detection.detection, "fine_tuned", stopped)
    before = signal.getsignal(signal.SIGTERM)
    code, result = run(own, tmp_path)
    assert code == 1
    assert signal.getsignal(signal.SIGTERM) == before
    random, pretrained = result["random-init"], result["own.safetensors"]
    assert (random["passed"], random["steps"], random["log"]) == (False, 2, {"measured": lines[1:], "last": lines[1:]})
    assert (pretrained["passed"], pretrained["steps"], pretrained["log"]) == (False, 0, {"measured": [], "last": []})
    assert "its time was up" in random["error"]


def test_no_row_is_begun_when_the_time_is_up(own: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def work(name: str, options: Any) -> dict[str, Any]:
        begun.append(name)
        monkeypatch.setattr(Job, "seconds_left", detection.RESERVE)
        raise SystemExit

    monkeypatch.setattr(detection.detection, "fine_tuned", work)
    assert run(own, tmp_path)[0] == 1
    assert begun == ["random-init"]


def test_what_takes_longer_is_stopped() -> None:
    with pytest.raises(SystemExit), detection.stopped_in_time(0.05):
        time.sleep(60)


def test_what_is_done_in_time_is_not_stopped() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with detection.stopped_in_time(60):
        pass
    assert signal.getsignal(signal.SIGTERM) == before


def test_all_steps_together_take_half_an_hour() -> None:
    assert sum(LIMITS.values()) <= 30
    assert max(LIMITS.values()) <= 10
