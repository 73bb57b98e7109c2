"""How long a run is, and its learning rate by the number of pairs a step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from manyview.config import ConfigError, PretrainConfig, resolve
from manyview.config.resolve import Assignment, flatten
from manyview.config.training import AdamWConfig, SGDConfig
from manyview.recipes import recipe_settings, resolve_settings

PHOTOS = {"data": {"images": "photos"}}


def configured(recipe: dict[str, Any] | None = None, **settings: Any) -> PretrainConfig:
    user = [Assignment(f"training.{key}", value, f"--{key}") for key, value in settings.items()]
    return resolve({**PHOTOS, **(recipe or {})}, user)


def budget(config: PretrainConfig) -> tuple[int | None, int | None, float | None]:
    return config.training.epochs, config.training.steps, config.training.hours


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (200, None, None)),
        ({"epochs": 3}, (3, None, None)),
        ({"steps": 30}, (None, 30, None)),
        ({"hours": 0.5}, (None, None, 0.5)),
        ({"hours": 2}, (None, None, 2.0)),
    ],
)
def test_one_of_three(settings: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert budget(configured(**settings)) == expected
    assert budget(configured(recipe_settings("paper"), **settings)) == expected


def test_two_are_a_mistake_with_a_clear_sentence() -> None:
    with pytest.raises(ConfigError) as caught:
        configured(epochs=3, steps=30)

    assert str(caught.value) == (
        "training.epochs=3 (--epochs) and training.steps=30 (--steps) each set the length of the run; give one of them"
    )


def test_none_at_all_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="set one of epochs, steps and hours, not none"):
        configured(epochs=None)
    with pytest.raises(ValueError, match="set one of epochs, steps and hours, not epochs and steps"):
        SGDConfig(epochs=3, steps=30)


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("steps", 1.5), ("hours", 0), ("hours", -1)])
def test_out_of_range(name: str, value: float | int) -> None:
    with pytest.raises(ConfigError, match=f"training.{name}"):
        configured(**{name: value})


def test_an_option_wins_over_files_and_recipes_of_another_budget(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[training]\nepochs = 7\n")
    by_file = [Assignment("training.epochs", 7, str(file), from_file=True)]

    config = resolve({**PHOTOS, "training": {"steps": 9}}, [*by_file, Assignment("training.hours", 1, "--hours")])

    assert budget(config) == (None, None, 1.0)
    assert budget(resolve({**PHOTOS, "training": {"steps": 9}}, by_file)) == (7, None, None)
    with pytest.raises(ConfigError, match="each set the length of the run"):
        resolve(PHOTOS, [*by_file, Assignment("training.steps", 8, str(file), from_file=True)])


def test_another_budget_that_is_unset_leaves_the_recipes() -> None:
    assert budget(configured(recipe_settings("recommended"), steps=None)) == (100, None, None)
    assert budget(configured(recipe_settings("continue"), hours=None)) == (None, 50, None)
    with pytest.raises(ConfigError, match="set one of epochs, steps and hours, not none"):
        configured(recipe_settings("recommended"), epochs=None)


@pytest.mark.parametrize("settings", [{"epochs": 3}, {"steps": 30}, {"hours": 0.5}])
def test_what_a_run_recorded_gives_the_same_again(settings: dict[str, Any], tmp_path: Path) -> None:
    first = configured(**settings)
    dumped = first.model_dump(mode="json")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(dumped))

    assert resolve(dumped, []) == first
    assert resolve(PHOTOS, list(flatten(dumped, "config.json"))) == first
    assert budget(resolve_settings(config=file)) == budget(first)
    again = resolve_settings(config=file, set=["training.steps=5"])
    assert budget(again) == (None, 5, None)


def test_configurations_of_before_have_epochs() -> None:
    before = configured(epochs=3).model_dump(mode="json")
    for key in ("steps", "hours", "scaling"):
        del before["training"][key]
    for key in [key for key in before["monitor"] if key.startswith("eval") or key == "keep_best"]:
        del before["monitor"][key]

    assert PretrainConfig.model_validate(before) == configured(epochs=3)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 30, "schedule_by": "epoch"}, "schedule_by .* moves with every step"),
        ({"steps": 30, "schedule": "step", "milestones": [3, 2]}, "milestones must ascend, not"),
        ({"scaling": "square"}, "training.scaling .* must be 'linear', 'sqrt' or 'none', not 'square'"),
    ],
)
def test_mistakes(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        configured(**settings)


@pytest.mark.parametrize("batch", [2, 16, 64, 500])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_learning_rate_follows_the_pairs(batch: int, accumulate: int) -> None:
    pairs = batch * accumulate * 4

    def rate(**settings: Any) -> float:
        return configured(batch_size=batch, accumulate=accumulate, **settings).learning_rate

    assert rate() == 0.05 * pairs / 256
    assert rate(scaling="sqrt") == pytest.approx(0.05 * math.sqrt(pairs / 256), rel=1e-15)
    assert rate(scaling="none") == 0.05
    assert AdamWConfig(scaling="sqrt").scale(256) == 1


def test_recommended_has_a_thousandth_at_its_own_batch() -> None:
    config = resolve({**PHOTOS, **recipe_settings("recommended")}, [])

    assert (config.training.scaling, config.pairs_per_step, config.learning_rate) == ("sqrt", 64, 0.001)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"keep_best": "knn"}, "keep_best is knn, which needs eval_labels"),
        ({"eval_val_labels": "val.csv"}, "eval_val_labels needs eval_labels"),
        ({"eval_size": 64}, r"monitor.eval_size \(set\) has no effect because nothing is measured"),
        ({"eval_images": 60, "eval_every": 3}, "eval_images .* because monitor.eval_labels names no labels"),
        ({"keep_best": "denser"}, "must be .* not 'denser'; did you mean dense"),
        ({"eval_every": 0}, "monitor.eval_every .* must be greater than or equal to 1"),
    ],
)
def test_mistakes_in_measuring(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        resolve(PHOTOS, [Assignment(f"monitor.{key}", value, "set") for key, value in settings.items()])


def test_what_is_measured_and_kept() -> None:
    def monitor(**settings: Any) -> Any:
        return resolve(PHOTOS, [Assignment(f"monitor.{k}", v, "set") for k, v in settings.items()]).monitor

    assert (monitor().measures_quality, monitor().kept_by) == (False, None)
    assert (monitor(eval_labels="a").measures_quality, monitor(eval_labels="a").kept_by) == (True, "logistic")
    assert (monitor(eval_every=3).measures_quality, monitor(eval_every=3).kept_by) == (True, None)
    assert (monitor(keep_best="dense").measures_quality, monitor(keep_best="dense").kept_by) == (True, "dense")
