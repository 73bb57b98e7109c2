"""Paces that runs have recorded, and what a plan measures or reads once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from manyview.backbones import build_backbone, load_backbone
from manyview.config import PretrainConfig
from manyview.recipes.reproduce import inputs, pace
from manyview.recipes.reproduce.pace import recorded_pace, trained_seconds
from manyview.recipes.reproduce.plan import TablePlan
from manyview.recipes.reproduce.random_weights import write_random
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


def test_hours_are_of_all_seeds_and_what_rows_share_counts_once(
    make: Make, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = 'recipe = "paper"\nset = {"losses.image_aware.weight" = 0}\n'
    files[0].write_text(
        files[0].read_text().partition("[[rows]]")[0]
        + "".join(f'[[rows]]\nname = "{name}"\n{row}' for name in ("first", "again"))
        + f'[[rows]]\nname = "pooled"\n{row}evaluate = {{pool = "avg"}}\n'
    )
    files[1].write_text(
        files[1].read_text() + '[instruments.cached]\nrecipe = "paper"\ncached = true\n'
        '[instruments.augmented]\nrecipe = "paper"\nepochs = 5\n'
    )
    monkeypatch.setattr("manyview.recipes.reproduce.pace.measure_step", lambda *_: 900.0)
    monkeypatch.setattr("manyview.recipes.reproduce.pace.measure_image", lambda *_: 36.0)

    rows = make(dry_run=True, seeds=2)["plan"]

    assert [row["hours"] for row in rows] == [2 * 4 * 900 / 3600, 0, 0]
    # Twelve images are trained on and four measured on; only augmented ones are seen anew in each epoch.
    once = 2 * ((12 + 4) + (12 + 4) + (5 * 12 + 4)) * 36 / 3600
    assert [row["evaluation_hours"] for row in rows] == [pytest.approx(once), 0, pytest.approx(once)]


def test_a_step_that_is_measured_on_fewer_images_is_scaled_by_its_views(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an accumulated step, too, which has the views of several batches."""
    settings = {"views.size": 256, "training.batch_size": 6, "training.accumulate": 2}
    base = plan(only=["blocks"], set=settings).rows[0].base
    assert base is not None
    measured: list[int] = []

    def seconds(config: PretrainConfig, *_: object) -> float:
        assert config.training.accumulate == 1
        measured.append(config.training.batch_size)
        return 0.25 * config.training.batch_size

    monkeypatch.setattr(pace, "_measured", seconds)

    assert pace.measure_step(base.config, base.plan, plan().inputs.files) == pytest.approx(0.25 * 6 * 2)
    assert measured == [2]  # eight views of 256 pixels are as many as are measured at a time


def test_random_weights_are_those_of_the_seed_with_no_branch_at_zero(photos: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "random")
    options: dict[str, Any] = {"list": None, "size": 32, "seed": 3, "workers": 0, "device": "cpu"}
    write_random(run, backbone="timm/test_resnet", images=str(photos), **options)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = dict(build_backbone("timm/test_resnet", zero_init_residual=False).named_parameters())
    found = dict(load_backbone(run.weights).named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
