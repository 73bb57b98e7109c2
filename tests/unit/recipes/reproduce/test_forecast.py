"""Paces that runs have recorded, and what a plan measures or reads once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from manyview.recipes.reproduce import inputs
from manyview.recipes.reproduce.pace import recorded_pace, trained_seconds
from manyview.recipes.reproduce.plan import TablePlan
from manyview.runs import RunFolder
from manyview.runs.files import sha256, write_tensors

Make = Callable[..., dict[str, Any]]
Plan = Callable[..., TablePlan]


def run(folder: Path, epochs: list[tuple[int, float]], written: int) -> RunFolder:
    """A run of 10 views a step with last steps and views per second of epochs, and the step of its weights."""
    made = RunFolder(folder)
    made.path.mkdir()
    made.write_json("run.json", {"plan": {"views_per_step": 10}})
    for step, speed in epochs:
        made.append_metrics({"kind": "step", "step": step})
        made.append_metrics({"kind": "epoch", "step": step, "views_per_second": speed})
    write_tensors(made.weights, {"w": torch.zeros(1)}, {"step": str(written)})
    return made


def test_the_pace_is_that_of_ended_epochs_wherever_the_weights_were_written(tmp_path: Path) -> None:
    ended = run(tmp_path / "a", [(4, 20.0), (8, 10.0)], 8)  # four steps of half a second, four of a whole one
    stopped = run(tmp_path / "b", [(4, 20.0)], 7)
    at_once = run(tmp_path / "c", [], 3)

    assert [recorded_pace([each]) for each in (ended, stopped, at_once)] == [0.75, 0.5, None]
    assert recorded_pace([ended, stopped, at_once]) == pytest.approx((6 + 2) / 12)
    assert [trained_seconds(each) for each in (ended, stopped, at_once)] == [6.0, 3.5, 0.0]


def test_features_are_measured_of_the_backbone_that_a_row_has(
    make: Make, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    files[0].write_text(files[0].read_text().partition("[[rows]]")[0] + '[[rows]]\nname = "r"\nweights = "random"\n')
    measured: list[str] = []

    def measure(backbone: str, *_: object) -> float:
        measured.append(backbone)
        return 1.0

    monkeypatch.setattr("manyview.recipes.reproduce.pace.measure_image", measure)
    make(dry_run=True)
    make(dry_run=True, set={"backbone.name": "resnet18"})

    assert measured == ["timm/test_resnet", "resnet18"]


def test_label_files_are_read_once_for_all_rows_and_seeds(
    plan: Plan, labels: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counted(file: Path) -> str:
        read.append(file)
        return sha256(file)

    monkeypatch.setattr(inputs, "sha256", counted)
    made = plan(seeds=3)

    assert read == [*labels]
    options = made.inputs.labeled[""].options()
    assert {name: Path(value) for name, value in options.items()} == {
        "images": Path(made.inputs.images),
        "train_labels": labels[0],
        "val_labels": labels[1],
    }
    assert json.dumps(options)
