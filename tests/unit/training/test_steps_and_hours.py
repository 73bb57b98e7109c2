"""Runs whose length is a number of steps or hours."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from manyview.config import PretrainConfig, resolve
from manyview.config.resolve import Assignment
from manyview.errors import UserError
from manyview.recipes.reproduce.jobs import run_state
from manyview.runs import RunFolder
from manyview.training import pace
from manyview.training.expected import MEASURED, expectation, interpolated
from manyview.training.optimizer import check_schedule, learning_rate
from manyview.training.pace import Pace, fitting_steps
from manyview.training.plan import BatchPlan, make_plan
from manyview.training.quality import interval, measurements
from tests.helpers.records import started_otherwise
from tests.helpers.tiny import Interrupting, TinyNet, train_tiny

SPE, TOP = 7, 0.1  # steps per epoch; learning rate of 128 images of four pairs


def config(**settings: Any) -> PretrainConfig:
    user = [Assignment(key.replace("__", "."), value, "set") for key, value in settings.items()]
    return resolve({"data": {"images": "photos"}}, user)


@pytest.mark.parametrize("steps", [3, 7, 20])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_last_epoch_may_be_partial(steps: int, accumulate: int) -> None:
    settings = {"training__batch_size": 4, "training__accumulate": accumulate}
    made = make_plan(config(training__steps=steps, **settings), 30)
    longer = list(BatchPlan(make_plan(config(training__epochs=20, **settings), 30)))

    assert made.steps_per_epoch == 30 // (4 * accumulate)
    assert (made.steps, made.epochs) == (steps, -(-steps // made.steps_per_epoch))
    assert sum(made.steps_in(epoch) for epoch in range(made.epochs)) == steps
    assert list(BatchPlan(made)) == longer[: steps * accumulate]
    for start in range(steps + 1):
        assert list(BatchPlan(made, start_step=start)) == longer[start * accumulate : steps * accumulate]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"training__steps": 3}, "3 steps of 32 views = 96 views, 0.429 epochs of 7 steps"),
        ({"training__steps": 7}, "7 steps of 32 views = 224 views, 1 epoch of 7 steps"),
        ({"training__epochs": 3}, "21 steps of 32 views = 672 views, 3 epochs of 7 steps"),
    ],
)
def test_a_plan_says_its_size(settings: dict[str, Any], sentence: str) -> None:
    assert str(make_plan(config(training__batch_size=4, **settings), 30)) == sentence


@pytest.mark.parametrize("steps", [5, 24, 70])
def test_the_schedule_covers_the_whole_run_step_by_step(steps: int) -> None:
    def rates(**settings: Any) -> np.ndarray:
        made = config(training__steps=steps, **settings)
        return np.array([learning_rate(made, step, SPE) for step in range(steps)])

    t = np.arange(steps, dtype=np.float64)
    np.testing.assert_allclose(rates(), TOP * (1 + np.cos(np.pi * t / steps)) / 2, rtol=1e-12)
    warm = np.where(t < 3, TOP * (t + 1) / 3, TOP * (1 + np.cos(np.pi * (t - 3) / (steps - 3))) / 2)
    np.testing.assert_allclose(rates(training__warmup_steps=3), warm, rtol=1e-12)
    lowered = TOP * 0.1 ** ((t / SPE >= 0.6 * steps / SPE) * 1.0 + (t / SPE >= 0.8 * steps / SPE))
    np.testing.assert_allclose(rates(training__schedule="step"), lowered, rtol=1e-12)


def test_milestones_and_warm_up_must_lie_in_the_run() -> None:
    late = config(training__steps=20, training__schedule="step", training__milestones=[1, 3])
    with pytest.raises(UserError, match=r"training.milestones ends with 3 epochs, but the whole run has 2\.86; lower"):
        check_schedule(late.training, SPE)
    check_schedule(late.training, 6)
    with pytest.raises(UserError, match=r"takes 14 steps, but the whole run has 14; lower training\.warmup_epochs"):
        check_schedule(config(training__steps=14, training__warmup_epochs=2).training, SPE)


def test_a_run_of_steps_ends_within_an_epoch(photos: Path, tmp_path: Path) -> None:
    run = train_tiny(photos, tmp_path / "run", epochs=None, steps=6)

    plan = run.read_json("run.json")["plan"]
    assert (plan["steps"], plan["steps_per_epoch"]) == (6, 4)
    epochs = [row for row in run.read_metrics() if row["kind"] == "epoch"]
    assert [(row["step"], row["epoch"]) for row in epochs] == [(4, 0), (6, 1)]
    assert run_state(run) == "done"
    assert run.read_json("config.json")["training"]["epochs"] is None


def test_the_means_of_a_partial_epoch_are_over_its_steps(photos: Path, tmp_path: Path) -> None:
    run = train_tiny(photos, tmp_path / "run", epochs=None, steps=6, settings={"monitor.every": 1})

    rows = run.read_metrics()
    losses = {row["step"]: row["loss"] for row in rows if row["kind"] == "step"}
    for row in (row for row in rows if row["kind"] == "epoch"):
        own = [losses[step] for step in range(4 * row["epoch"] + 1, row["step"] + 1)]
        assert row["loss"] == pytest.approx(np.mean(own), rel=1e-6)


@pytest.mark.parametrize("stop", [2, 5])
def test_stopped_and_resumed_to_the_bit(photos: Path, tmp_path: Path, stop: int) -> None:
    whole = train_tiny(photos, tmp_path / "whole", backbone=Interrupting(999), epochs=None, steps=6)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(photos, tmp_path / "run", backbone=Interrupting(stop), epochs=None, steps=6)
    run = train_tiny(None, tmp_path / "run", backbone=Interrupting(999), epochs=None, resume=True)

    for name in ("backbone.safetensors", "checkpoints/step-000000006.safetensors", "checkpoints/step-000000006.json"):
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_whole_epochs_by_steps_are_those_epochs(photos: Path, tmp_path: Path) -> None:
    settings = {"training.schedule_by": "step"}
    epochs = train_tiny(photos, tmp_path / "epochs", epochs=2, settings=settings)
    steps = train_tiny(photos, tmp_path / "steps", epochs=None, steps=8)

    assert steps.weights.read_bytes() == epochs.weights.read_bytes()


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pace is really measured, but on few steps, and whatever it is, six steps fit."""
    shorten(monkeypatch)


def shorten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pace, "_LONGEST", 0.01)
    patch.setattr(pace, "fitting_steps", lambda *_: 6)


@pytest.fixture(scope="module")
def timed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        return train_tiny(photos, tmp_path_factory.mktemp("runs") / "timed", epochs=None, hours=1)


def test_hours_become_steps_before_the_run(timed: RunFolder, photos: Path, tmp_path: Path) -> None:
    made = timed.read_json("config.json")["training"]

    assert (made["epochs"], made["steps"], made["hours"]) == (None, 6, None)
    assert timed.read_json("run.json")["asked"]["training"]["hours"] == 1
    assert timed.read_json("run.json")["plan"]["steps"] == timed.read_metrics()[-1]["step"] == 6
    again = train_tiny(photos, tmp_path / "again", epochs=None, steps=6)
    assert again.weights.read_bytes() == timed.weights.read_bytes()


def test_a_resumed_run_keeps_its_steps(timed: RunFolder, tmp_path: Path) -> None:
    out = Path(shutil.copytree(timed.path, tmp_path / "run"))
    shutil.rmtree(out / "checkpoints")

    run = train_tiny(None, out, epochs=None, resume=True)

    assert run.read_metrics()[-1]["step"] == 6
    assert run.weights.read_bytes() == timed.weights.read_bytes()


def test_a_resumed_run_needs_its_steps(timed: RunFolder, tmp_path: Path) -> None:
    out = Path(shutil.copytree(timed.path, tmp_path / "run"))
    started_otherwise(out, lambda run, config: config["training"].update(steps=None))

    with pytest.raises(UserError, match=r"lacks training\.steps, without which the run cannot be resumed"):
        train_tiny(None, out, epochs=None, resume=True)


@pytest.mark.usefixtures("brief")
def test_what_is_said(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_tiny(photos, tmp_path / "run", epochs=None, hours=1, quiet=False)

    words = capsys.readouterr().err
    assert re.search(
        r"1 h 00 min at [\d.]+ s a step, measured over \d+: 6 steps of 32 views = 192 views, 1\.5 ep", words
    )
    assert "learning rate 0.003125 = 0.05 x 16 pairs / 256 (training.scaling=linear)" in words
    assert "At 16 pairs a step the linear rule gives a small learning rate" in words
    assert re.search(r"It took .* s of the 1 h 00 min asked for\.", words)


def test_too_little_time_is_refused(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "measure_pace", lambda *_: Pace(100.0, 1, 0.0))

    with pytest.raises(UserError, match=r"training\.hours is 0\.01, but a step takes 100 s .*: give more time"):
        train_tiny(photos, tmp_path / "run", epochs=None, hours=0.01)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("every", [None, 1, 7, 1000])
@pytest.mark.parametrize("measurement", [0.0, 0.3, 5.0])
def test_as_many_steps_as_fit_with_the_measurements(every: int | None, measurement: float) -> None:
    made = config(training__hours=1, training__batch_size=2, views__size=32, monitor__eval_every=every)
    pixels = 40 * 64**2

    def takes(steps: int) -> float:
        return steps * 0.1 + measurements(steps, interval(made, steps, pixels)) * measurement

    for seconds in (0.05, 3.0, 20.0, 61.7):
        found = fitting_steps(made, Pace(0.1, 3, measurement), seconds, pixels)
        assert found == 0 or takes(found) <= seconds
        assert takes(found + 1) > seconds
    assert fitting_steps(made, Pace(0.25, 3, 0.0), 10.0) == 40


@pytest.mark.parametrize(
    ("views", "points"), [(1, 6), (40_000, 6), (89_442, 7), (200_000, 8), (10**9, 8)]
)  # 89,442 is the geometric mean
def test_points_between_those_measured(views: int, points: float) -> None:
    assert interpolated(((40_000, 6.0), (200_000, 8.0)), views) == pytest.approx(points, abs=1e-5)


def test_what_views_are_known_to_bring() -> None:
    def sentence(recipe: str, views: int, **settings: Any) -> str | None:
        return expectation(config(**settings).model_copy(update={"recipe": recipe}), views)

    (fewest, low), *_, (most, high) = MEASURED["recommended"]
    assert f"expect some {low:.2g} points of mAP over random" in (sentence("recommended", fewest) or "")
    assert f"expect some {high:.2g} points" in (sentence("recommended", most) or "")
    assert "were not measured" in (sentence("recommended", 10 * most) or "")
    assert "fewer than were ever measured" in (sentence("recommended", fewest // 10) or "")
    assert "small photographs with ResNet-18" in (sentence("recommended", fewest) or "")
    assert sentence("mocov2", most) is None
    assert f"some 3.6 points of mAP over random init (recipe recommended: {high:.2g})" in (
        sentence("paper", most) or ""
    )
    assert "(recipe" not in (sentence("recommended", most) or "")
    assert sentence("recommended", most, backbone__init="w.pth") is None
    assert all(list(points) == sorted(points) for points in MEASURED.values())


@pytest.mark.usefixtures("brief")
def test_a_custom_backbone_is_not_changed_by_the_measured_steps(photos: Path, tmp_path: Path) -> None:
    first, second = TinyNet(), TinyNet()
    train_tiny(photos, tmp_path / "a", epochs=None, hours=1, backbone=first)
    train_tiny(photos, tmp_path / "b", epochs=None, steps=6, backbone=second)

    assert (tmp_path / "a/backbone.safetensors").read_bytes() == (tmp_path / "b/backbone.safetensors").read_bytes()


def test_progress_counts_the_epochs_begun(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not Console(stderr=True).is_terminal
    train_tiny(photos, tmp_path / "run", epochs=None, steps=6, quiet=False)

    words = capsys.readouterr().err
    assert "epoch 1/2" in words
    assert "epoch 2/2" in words
