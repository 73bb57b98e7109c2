"""All mistakes are reported at once, each with what to write instead."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from manyview.config import ConfigError, PretrainConfig, parse_assignment, resolve
from manyview.config.resolve import Assignment, flatten, valid_keys
from manyview.config.table import settings
from manyview.errors import UserError
from manyview.recipes import RECIPES, recipe_settings

BASE = {"data": {"images": "photos"}}


def configured(*texts: str, recipe: str | None = None, source: str = "--set") -> PretrainConfig:
    base = {**BASE, **(recipe_settings(recipe) if recipe else {})}
    return resolve(base, [parse_assignment(text, source) for text in texts])


def problems(*texts: str, recipe: str | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        configured(*texts, recipe=recipe)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=3", 3),
        ("a=.5", 0.5),
        ("a=-.5", -0.5),
        ("a=1e-3", 1e-3),
        ("a = true", True),
        ("a=none", None),
        ("a=null", None),
        ("a=[.2, 1]", [0.2, 1]),
        ("a=resnet18", "resnet18"),
        ("a=timm/x.y", "timm/x.y"),
        ("a='3'", "3"),
        ("a=x=y", "x=y"),
        ("a=", ""),
        ("a=tau/0.07", "tau/0.07"),
    ],
)
def test_value_of_an_assignment(text: str, value: Any) -> None:
    parsed = parse_assignment(text)

    assert parsed == Assignment("a", value, "--set")
    assert type(parsed.value) is type(value)


def test_none_is_a_name_where_the_setting_takes_it() -> None:
    assert configured("training.scaling=none").training.scaling == "none"
    assert configured("training.scaling=None", "training.optimizer=adamw").training.scaling == "none"
    assert parse_assignment("training.scaling=null").value is None
    assert configured("training.weight_decay_end=none", "training.steps=none").training.steps is None


@pytest.mark.parametrize("text", ["training.epochs", "=3", ""])
def test_assignment_without_key_or_value(text: str) -> None:
    with pytest.raises(UserError, match=r"is not KEY=VALUE; write for example --set training.epochs=10"):
        parse_assignment(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("training.epoch=3", "unknown key training.epoch (--set); did you mean training.epochs?"),
        ("epochs=3", "unknown key epochs (--set); did you mean training.epochs?"),
        (
            "losses.image_aware.wieght=1",
            "unknown key losses.image_aware.wieght (--set); did you mean losses.image_aware.weight?",
        ),
        ("losses.weight=2", "unknown key losses.weight (--set); did you mean losses.image_aware.weight?"),
        ("zzzz=1", "unknown key zzzz (--set)"),
        ("views.size=0", "views.size (--set) must be greater than or equal to 8, not 0"),
        ("views.overlap=.7", "views.overlap (--set) must be less than or equal to 0.5, not 0.7"),
        ("views.overlap=-.1", "views.overlap (--set) must be greater than or equal to 0, not -0.1"),
        (
            "views.pairs=2",
            "views.pairs (--set) is read only with views.kind=whole or both, but views.kind is blocks",
        ),
        ("views.kind=block", "views.kind must be 'blocks', 'whole', 'both' or 'groups', not 'block'"),
        ("views.scale=[.5,.2]", "views: scale must be two ascending numbers above 0, not 0.5 and 0.2"),
        ("views.scale=[.5,2]", "views: scale is a share of the area: its upper end must be at most 1, not 2"),
        ("views.scale=[.5]", "views.scale (--set) has too few values: [0.5]"),
        ("views.blur=[2,0]", "views.blur (--set) must be less than or equal to 1, not 2"),
        ("training.epochs=1.5", "training.epochs (--set) must be a valid integer, not 1.5"),
        ("training.epochs=true", "training.epochs (--set) must be a valid integer, not True"),
        ("training.momentum=nan", "training.momentum (--set) must be less than 1, not nan"),
        ("training.base_learning_rate=inf", "training.base_learning_rate (--set) must be a finite number, not inf"),
        ("training.seed=-1", "training.seed (--set) must be greater than or equal to 0, not -1"),
        ("training.batch_size=1", "training.batch_size (--set) must be greater than or equal to 2, not 1"),
        (
            "training.precision=bf61",
            "training.precision (--set) must be 'auto', 'float32' or 'bf16', not 'bf61'; did you mean bf16?",
        ),
        ("losses.image_aware.temperature=0", "losses.image_aware.temperature (--set) must be greater than 0, not 0"),
        (
            "losses.image_aware.factor=-1",
            "losses.image_aware.factor (--set) must be greater than 0 or 'tau/0.07', not -1",
        ),
        ("losses.image_aware.shards=513", "losses.image_aware.shards is 513, but a batch has only 512 pairs"),
        ("data.workers=-1", "data.workers (--set) must be greater than or equal to 0, not -1"),
        ("backbone.name=3", "backbone.name (--set) must be a valid string, not 3"),
        ("monitor.on_collapse=halt", "monitor.on_collapse (--set) must be 'warn' or 'stop', not 'halt'"),
    ],
)
def test_one_mistake(text: str, sentence: str) -> None:
    assert problems(text) == (sentence,)


def test_unknown_keys_of_a_stored_configuration_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({"data": {"images": "photos", "imges": "x"}, "monitor": {"zzzz": 1}}, [])
    assert caught.value.problems == (
        "unknown key data.imges, which another version of manyview may have",
        "unknown key monitor.zzzz, which another version of manyview may have",
    )


def test_group_given_a_value_names_what_is_inside() -> None:
    (sentence,) = problems("losses.similarity=3")

    assert sentence == "losses.similarity (--set) is a group of settings; set one of losses.similarity.stop_gradient"


def test_all_mistakes_at_once() -> None:
    texts = ("views.size=0", "views.overlap=.7", "trainin.epochs=3", "losses.image_aware.temperature=0")

    found = problems(*texts)

    assert len(found) == 4
    assert all(any(text.partition("=")[0] in sentence for sentence in found) for text in texts)
    with pytest.raises(ConfigError, match=r"^4 mistakes in the configuration: .*; .*; .*; "):
        configured(*texts)


def test_missing_folder_of_images() -> None:
    with pytest.raises(ConfigError, match=r"^data is missing"):
        resolve({}, [])


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (
            ("losses.image_aware.weight=0", "losses.image_aware.temperature=.5"),
            "losses.image_aware.temperature (--set) has no effect because losses.image_aware.weight is 0",
        ),
        (("views.jitter=0", "views.hue=.2"), "views.hue (--set) has no effect because jitter is 0"),
        (("views.blur=[0,0]", "views.blur_sigma=[.1,1]"), "views.blur_sigma (--set) has no effect because blur is 0"),
        (
            ("training.schedule=constant", "training.constant_predictor_lr=true"),
            "training.constant_predictor_lr (--set) has no effect because training.schedule is constant",
        ),
        (("monitor.on_collapse=warn", "monitor.patience=3"), "monitor.patience (--set) has no effect because monitor"),
        (
            ("losses.image_aware.vectors=predictions", "losses.image_aware.stop_gradient=true"),
            "losses.image_aware.stop_gradient (--set) has no effect because losses.image_aware.vectors is predictions",
        ),
    ],
)
def test_contradictions(texts: tuple[str, ...], sentence: str) -> None:
    (found,) = problems(*texts, recipe="paper")

    assert found.startswith(sentence)
    assert found.endswith("; leave one of them out")
    assert configured(texts[0], recipe="paper") != configured(recipe="paper")  # each by itself is fine


def test_switching_kind_drops_only_what_the_recipe_said() -> None:
    config = configured("views.kind=whole", "views.pairs=2", recipe="paper")

    assert config.views.kind == "whole"
    assert config.views.pairs == 2
    assert problems("views.kind=whole", "views.overlap=.3", recipe="paper") == (
        "views.overlap (--set) is read only with views.kind=blocks or both, but views.kind is whole",
    )


def test_later_settings_win() -> None:
    assert configured("training.epochs=3", "training.epochs=5").training.epochs == 5


def test_configuration_is_frozen() -> None:
    config = configured()

    for group, key in ((config, "recipe"), (config.training, "epochs"), (config.views, "size")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(group, key, 3)


@pytest.mark.parametrize("recipe", list(RECIPES))
@pytest.mark.parametrize("texts", [(), ("losses.image_aware.weight=0",), ("training.schedule=constant",)])
def test_the_stored_configuration_gives_itself(recipe: str, texts: tuple[str, ...]) -> None:
    if recipe == "supervised":
        texts = (*(text for text in texts if not text.startswith("losses.")), "data.labels=labels.csv")
    config = configured(*texts, recipe=recipe)
    stored = list(flatten(config.model_dump(mode="json"), "config.json"))

    again = resolve(recipe_settings(recipe), stored)

    assert again == config


def test_values_of_the_recipes() -> None:
    """paper-facts: what the two recipes of the paper differ in, and the baselines."""
    paper, released = configured(recipe="paper"), configured(recipe="released")
    simsiam, control = configured(recipe="simsiam"), configured(recipe="simsiam-4pairs")

    assert (paper.views.overlap, paper.training.epochs, paper.training.batch_size) == (0.2, 200, 128)
    assert (released.views.overlap, released.training.epochs, released.training.batch_size) == (0.3, 400, 124)
    assert (paper.views.blur, paper.views.solarize) == ((0.5, 0.5), (0, 0))
    assert (released.views.blur, released.views.solarize) == ((0.5, 0.1), (0.5, 0.2))
    assert (paper.losses.image_aware.factor, paper.losses.image_aware.shards) == (1, 1)
    assert (released.losses.image_aware.factor, released.losses.image_aware.shards) == ("tau/0.07", 2)
    assert paper.losses.similarity.stop_gradient
    assert not released.losses.similarity.stop_gradient
    for config in (paper, released):
        image_aware = config.losses.image_aware
        assert (image_aware.weight, image_aware.temperature, image_aware.vectors) == (4, 0.3, "crossed")
    smaller = paper.model_copy(update={"recipe": "paper-160", "views": paper.views.model_copy(update={"size": 160})})
    assert configured(recipe="paper-160") == smaller
    assert (simsiam.views.kind, simsiam.views.pairs, simsiam.losses.image_aware.weight) == ("whole", 1, 0)
    assert (control.views.kind, control.views.pairs, control.views.scale) == ("whole", 4, (0.098, 0.49))
    assert not simsiam.training.constant_predictor_lr
    for config, weight in ((configured(recipe="sup"), 4), (configured(recipe="sup-matched"), 4 / 7)):
        assert (config.losses.image_aware.form, config.losses.image_aware.weight) == ("out", weight)
        image_aware = config.losses.image_aware.model_copy(update={"form": "outside", "weight": 4.0})
        losses = config.losses.model_copy(update={"image_aware": image_aware})
        assert config.model_copy(update={"losses": losses, "recipe": "paper"}) == paper
    assert (paper.method.projection_dim, paper.method.prediction_hidden_dim) == (2048, 512)
    assert (paper.training.momentum, paper.training.weight_decay) == (0.9, 1e-4)


@pytest.mark.parametrize(
    ("recipe", "rate"),
    [
        ("paper", 0.1),
        ("paper-160", 0.1),
        ("released", 0.096875),
        ("simsiam", 0.1),
        ("simsiam-4pairs", 0.1),
        ("mocov2", 0.03),
        ("densecl", 0.03),
        ("simclr", 4.8),
        ("byol", 3.2),
        ("sup", 0.1),
        ("sup-matched", 0.1),
        ("recommended", 0.001),
    ],
)
def test_learning_rate_follows_the_pairs(recipe: str, rate: float) -> None:
    assert math.isclose(configured(recipe=recipe).learning_rate, rate)


def test_accumulation_counts_for_the_learning_rate() -> None:
    config = configured("training.accumulate=2", "training.batch_size=64", recipe="paper")

    assert config.pairs_per_step == 512
    assert math.isclose(config.learning_rate, 0.1)


def test_table_states_every_key_once_with_its_meaning() -> None:
    rows = settings()

    assert sorted(key for key, _, _ in rows) == sorted(valid_keys())
    assert [key for key, _, meaning in rows if not meaning] == []


def test_no_heavy_import(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, manyview.config, manyview.errors; print({'torch', 'torchvision', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_too_many_values_and_an_idle_overlap_are_told() -> None:
    data = Assignment("data.images", "photos", "PHOTOS")
    with pytest.raises(ConfigError, match=r"^views.grid \(--set\) has too many values, 2 at most: \[2, 2, 2\]$"):
        resolve({}, [data, parse_assignment("views.grid=[2,2,2]")])
    with pytest.raises(ConfigError, match=r"views.overlap \(--set\) has no effect because grid is a single block"):
        resolve({}, [data, parse_assignment("views.grid=[1,1]"), parse_assignment("views.overlap=0.3")])
