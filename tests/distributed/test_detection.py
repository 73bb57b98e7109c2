"""Fine-tuning by two processes: images shared out once each, and statistics and figures of all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from manyview.backbones.norm_statistics import measure_norms
from manyview.detection.checkpoint import load_detector
from manyview.detection.detect import DetectionRuntime, find_objects
from manyview.labels import read_annotations
from tests.helpers.processes import in_processes, joined
from tests.helpers.shapes import tune_tiny, write_shapes

COUNT = 5
RUNTIME = DetectionRuntime(torch.device("cpu"), "float32", 0)


def found(folder: Path) -> list[dict[str, Any]]:
    """What a detector finds in the five images."""
    detector, _ = load_detector(folder / "one")
    labels = read_annotations(folder / "labels.json", folder)
    return find_objects(detector, labels, folder, RUNTIME)


def statistics(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    return measure_norms(network.train(), [(batch,) for batch in batches])["0"]


def batches() -> list[Tensor]:
    return list(torch.randn(4, 2, 3, 5, 5, generator=torch.Generator().manual_seed(2)))


def work(rank: int, root: str) -> None:
    folder = Path(root)
    with joined(rank, folder):
        own = {"found": found(folder), "statistics": statistics(batches()[rank::2])}
        own["result"] = dict(tune_tiny(folder / "labels.json", folder / "two", iterations=3, precise_batches=1))
        torch.save(own, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images and a detector that one process has trained."""
    root = tmp_path_factory.mktemp("five")
    tune_tiny(write_shapes(root, COUNT), root / "one", iterations=1, eval_every=None)
    return root


@pytest.fixture(scope="module")
def processes(folder: Path) -> list[dict[str, Any]]:
    in_processes(work, str(folder))
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_each_image_is_looked_at_once(folder: Path, processes: list[dict[str, Any]]) -> None:
    expected = found(folder)
    assert {entry["image_id"] for entry in expected} == set(range(1, COUNT + 1))
    for process in processes:
        assert process["found"] == expected


def test_statistics_are_those_of_all_batches(processes: list[dict[str, Any]]) -> None:
    expected = statistics(batches())
    for process in processes:
        for ours, theirs in zip(process["statistics"], expected, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_both_processes_end_with_one_result(folder: Path, processes: list[dict[str, Any]]) -> None:
    written = json.loads((folder / "two" / "metrics.json").read_text())
    assert written["protocol"]["processes"] == 2
    for process in processes:
        assert process["result"]["results"] == written["results"]
    log = [json.loads(line) for line in (folder / "two" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in log] == [("training", 3), ("evaluation", 3)]


def test_a_batch_must_divide(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyview.distributed.world_size", lambda: 2)
    with pytest.raises(ValueError, match="a batch of 3 does not divide among 2 processes: use 4"):
        tune_tiny(folder / "labels.json", folder / "three", batch_size=3)
