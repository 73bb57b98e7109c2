"""The learning rate of every step, against the definitions written out in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyview.config import ConfigError, PretrainConfig, resolve
from manyview.config.resolve import Assignment
from manyview.errors import UserError
from manyview.training.optimizer import learning_rate, warmup_steps
from tests.helpers.tiny import train_tiny

EPOCHS, SPE = 10, 7
TOP = 0.1  # of 128 images of four pairs


def config(**settings: Any) -> PretrainConfig:
    values = {"epochs": EPOCHS, "batch_size": 128, **settings}
    return resolve({"data": {"images": "photos"}}, [Assignment(f"training.{k}", v, "set") for k, v in values.items()])


def rates(**settings: Any) -> np.ndarray:
    return np.array([learning_rate(config(**settings), step, SPE) for step in range(EPOCHS * SPE)])


STEP = np.arange(EPOCHS * SPE, dtype=np.float64)
EPOCH = np.floor(STEP / SPE)


def cosine(done: np.ndarray, total: float) -> np.ndarray:
    return TOP * (1 + np.cos(np.pi * done / total)) / 2


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, cosine(EPOCH, EPOCHS)),
        ({"schedule_by": "step"}, cosine(STEP, EPOCHS * SPE)),
        ({"schedule": "constant"}, np.full(EPOCHS * SPE, TOP)),
        ({"schedule": "step"}, TOP * 0.1 ** ((EPOCH >= 6) * 1.0 + (EPOCH >= 8))),
        ({"schedule": "step", "milestones": [2, 5, 9], "milestone_factor": 0.5},
         TOP * 0.5 ** ((EPOCH >= 2) * 1.0 + (EPOCH >= 5) + (EPOCH >= 9))),
        ({"schedule": "step", "milestones": [2.5]}, TOP * 0.1 ** (EPOCH >= 2.5)),
        ({"schedule": "step", "milestones": [2.5], "schedule_by": "step"}, TOP * 0.1 ** (STEP >= 2.5 * SPE)),
    ],
)  # fmt: skip
def test_each_schedule(settings: dict[str, Any], expected: np.ndarray) -> None:
    np.testing.assert_allclose(rates(**settings), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        *[({"warmup_steps": 5}, 5), ({"warmup_steps": 7}, 7), ({"warmup_epochs": 2}, 14), ({"warmup_epochs": 0.5}, 4)],
        *[({"warmup_share": 0.1}, 7), ({"warmup_share": 0.08}, 5)],
    ],
)
def test_a_warm_up_rises_by_step_and_the_cosine_has_the_rest(settings: dict[str, Any], steps: int) -> None:
    rising = TOP * (STEP + 1) / steps
    by_step = np.where(steps > STEP, rising, cosine(STEP - steps, EPOCHS * SPE - steps))
    share = steps / SPE
    by_epoch = np.where(steps > STEP, rising, cosine(np.maximum(EPOCH - share, 0), EPOCHS - share))

    np.testing.assert_allclose(rates(schedule_by="step", **settings), by_step, rtol=1e-12)
    np.testing.assert_allclose(rates(**settings), by_epoch, rtol=1e-12)
    constant = np.where(steps > STEP, rising, TOP)
    np.testing.assert_allclose(rates(schedule="constant", **settings), constant, rtol=1e-12)
    assert rates(**settings).max() == pytest.approx(TOP)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"warmup_steps": 2, "warmup_epochs": 1}, "warmup_epochs and warmup_steps are both set; leave one of them out"),
        ({"warmup_share": 0.1, "warmup_epochs": 1}, "warmup_epochs and warmup_share are both set"),
        ({"warmup_share": 1.0}, "training.warmup_share .* must be less than 1"),
        ({"schedule": "step", "milestones": [5, 3]}, "milestones must ascend and lie below the run's 10 epochs"),
        ({"schedule": "step", "milestones": [5, 10]}, r"below the run's 10 epochs, not \[5.0, 10.0\]"),
        ({"milestones": [5]}, r"training.milestones \(set\) has no effect because training.schedule is cosine"),
        ({"milestone_factor": 0.5}, "training.milestone_factor .* has no effect because training.schedule is cosine"),
        ({"schedule": "constant", "schedule_by": "step"}, "schedule_by .* because training.schedule is constant"),
        ({"schedule": "linear"}, "training.schedule .* must be 'cosine', 'constant' or 'step', not 'linear'"),
    ],
)
def test_mistakes(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config(**settings)


def test_a_constant_rate_of_the_predictor_matters_while_others_warm_up() -> None:
    assert config(schedule="constant", constant_predictor_lr=True, warmup_steps=3).training.constant_predictor_lr


def test_a_warm_up_of_the_recipe_is_replaced_by_the_users_and_fits_any_run() -> None:
    recipe = {"training": {"epochs": 1000, "warmup_share": 0.01}}

    def resolved(**settings: Any) -> Any:
        given = [Assignment(f"training.{key}", value, "set") for key, value in settings.items()]
        return resolve({"data": {"images": "photos"}, **recipe}, given).training

    assert resolved().warmup_share == 0.01
    assert (resolved(warmup_epochs=3.0).warmup_share, resolved(warmup_steps=0).warmup_share) == (0, 0)
    assert [warmup_steps(resolved(steps=steps), 7) for steps in (1, 99, 100, 1000)] == [0, 0, 1, 10]


def test_a_warm_up_longer_than_the_run_is_refused(photos: Path, tmp_path: Path) -> None:
    for settings, key in (
        ({"training.warmup_steps": 8}, "warmup_steps"),
        ({"training.warmup_epochs": 2}, "warmup_epochs"),
    ):
        with pytest.raises(UserError, match=rf"takes 8 steps, but the whole run has 8; lower training\.{key}"):
            train_tiny(photos, tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()


def test_the_run_has_the_rates_and_logs_them(photos: Path, tmp_path: Path) -> None:
    settings = {"training.warmup_steps": 3, "training.schedule_by": "step", "monitor.every": 1}
    run = train_tiny(photos, tmp_path / "run", settings=settings)

    shown = [record["learning_rate"] for record in run.read_metrics() if record["kind"] == "step"]
    top = 0.05 * 16 / 256
    expected = [top * (t + 1) / 3 for t in range(3)] + [top * (1 + np.cos(np.pi * t / 5)) / 2 for t in range(5)]
    assert shown == pytest.approx(expected)
