"""Rows of which something is equal: steps, batches, schedules; and what tells their runs apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manyview.images import ImageFiles
from manyview.recipes.reproduce.inputs import Inputs
from manyview.recipes.reproduce.planned_runs import RowSettings, planned_run, row_settings, slug, steps_of
from manyview.recipes.reproduce.scales import Scale
from manyview.recipes.reproduce.tables import Row
from manyview.training.optimizer import learning_rate

SCALE = Scale(title="", backbone="resnet18", view_size=64, views_per_step=512)
MULTI_CROP = [{"size": 224, "count": 2}, {"size": 96, "count": 6, "scale": [0.05, 0.14]}]


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """A thousand names; no image is opened."""
    return Inputs(ImageFiles(tmp_path, [f"{index}.jpg" for index in range(1000)]), True, None, {}, {}, "")


def settled(inputs: Inputs, scale: Scale = SCALE, **row: Any) -> RowSettings:
    user = row.pop("user", {})
    return row_settings(Row(**{"name": "a", "recipe": "paper", **row}), scale, inputs, user)


@pytest.mark.parametrize(
    ("recipe", "images", "views"),
    [("paper", 64, 512), ("simsiam", 256, 512), ("mocov2", 256, 512), ("recommended", 16, 128)],
)
def test_steps_have_as_many_views_unless_the_recipe_has_fewer(
    inputs: Inputs, recipe: str, images: int, views: int
) -> None:
    base = settled(inputs, recipe=recipe, set={"method.queue": 256} if recipe == "mocov2" else {})
    assert (base.config.training.batch_size, base.plan.views_per_step) == (images, views)


def test_a_row_may_have_smaller_steps_and_the_user_any(inputs: Inputs) -> None:
    assert settled(inputs, batch_size=8).config.training.batch_size == 8
    assert settled(inputs, batch_size=500).config.training.batch_size == 64
    assert settled(inputs, user={"training.batch_size": 500}).config.training.batch_size == 500
    assert settled(inputs, Scale(title=""), batch_size=500).config.training.batch_size == 500


@pytest.mark.parametrize(
    ("equal", "amount", "blocks", "pairs"),
    [
        ("views", 200_000, 391, 391),  # 512 views a step in both
        ("images", 25_600, 400, 100),  # 64 and 256 images a step
        ("steps", 390, 390, 390),
        ("time", 1.0, 7200, 7200),
        ("views", 1, 1, 1),
    ],
)
def test_steps_of_what_is_equal(inputs: Inputs, equal: str, amount: float, blocks: int, pairs: int) -> None:
    found = [steps_of(settled(inputs, recipe=recipe), equal, amount, 0.5) for recipe in ("paper", "simsiam")]
    assert found == [blocks, pairs]


@pytest.mark.parametrize(("equal", "steps"), [("views", 196), ("images", 196), ("steps", 195), ("time", 3600)])
def test_a_share_is_of_what_is_equal(inputs: Inputs, equal: str, steps: int) -> None:
    amount = {"views": 200_000, "images": 25_000, "steps": 390, "time": 1.0}[equal]
    assert steps_of(settled(inputs, share=0.5), equal, amount, 0.5) == steps


def test_each_row_is_annealed_over_its_own_steps(inputs: Inputs, tmp_path: Path) -> None:
    for recipe, steps in (("paper", 40), ("simsiam", 10)):
        run = planned_run(settled(inputs, recipe=recipe), steps, 0, inputs, tmp_path)
        rates = [learning_rate(run.config, step, run.plan.steps_per_epoch) for step in range(steps)]
        assert rates[0] == pytest.approx(run.config.learning_rate)
        assert rates == sorted(rates, reverse=True)
        assert rates[-1] < 0.05 * rates[0]


def test_warm_up_keeps_its_share_of_the_run(inputs: Inputs, tmp_path: Path) -> None:
    base = settled(inputs, recipe="recommended", set={"training.warmup_epochs": 10})
    training = planned_run(base, 400, 0, inputs, tmp_path).config.training
    assert (training.steps, training.epochs) == (400, None)
    assert (training.warmup_steps, training.warmup_epochs) == (40, 0)  # 10 of the recipe's 100 epochs


def test_own_lengths_are_the_rows_or_the_recipes(inputs: Inputs, tmp_path: Path) -> None:
    lengths = [
        planned_run(settled(inputs, **row), None, 0, inputs, tmp_path).config.training.epochs
        for row in ({"epochs": 100}, {}, {"recipe": "released"})
    ]
    assert lengths == [100, 200, 400]


def test_views_in_groups_keep_their_proportions(inputs: Inputs) -> None:
    settings = {"views.kind": "groups", "views.groups": MULTI_CROP}
    given = settled(inputs, recipe="simsiam", set=settings)
    assert [group.size for group in given.config.views.layout] == [224, 96]  # as the row says

    scale = SCALE.model_copy(update={"recipes": {}, "set": {}})
    from manyview.recipes import RECIPES

    with pytest.MonkeyPatch.context() as patched:
        recipe = {"views": {"kind": "groups", "groups": MULTI_CROP}, "losses": {"image_aware": {"weight": 0.0}}}
        patched.setitem(RECIPES, "cropped", recipe)
        of_recipe = settled(inputs, scale, recipe="cropped")
        blocks = settled(inputs, scale, recipe="cropped", set={"views.kind": "blocks"})
    assert [(group.size, group.count) for group in of_recipe.config.views.layout] == [(64, 2), (27, 6)]
    assert of_recipe.config.views.layout[1].augmentation.scale == (0.05, 0.14)
    assert [group.size for group in blocks.config.views.layout] == [64]


def test_settings_of_scale_recipe_row_and_user_in_this_order(inputs: Inputs) -> None:
    key = "monitor.every"
    scale = SCALE.model_copy(update={"set": {key: 1}})
    of_recipe = Scale.model_validate(
        {"title": "", "set": {key: 1}, "recipes": {"paper": {"set": {key: 2}, "views_per_step": 80}}}
    )
    assert settled(inputs, scale).config.monitor.every == 1
    assert settled(inputs, of_recipe).config.monitor.every == 2
    assert settled(inputs, of_recipe).config.training.batch_size == 10
    assert settled(inputs, of_recipe, set={"monitor": {"every": 3}}).config.monitor.every == 3
    assert settled(inputs, of_recipe, set={key: 3}, user={key: 4}).config.monitor.every == 4


def test_runs_are_told_apart_by_what_their_weights_depend_on(inputs: Inputs, tmp_path: Path) -> None:
    def folder(seed: int = 0, steps: int | None = 10, of: Inputs = inputs, **row: Any) -> str:
        return planned_run(settled(of, **row), steps, seed, of, tmp_path).folder.name.split("-", 1)[-1]

    def digest(**options: Any) -> str:
        return "-".join(folder(**options).split("-")[-2:])

    usual = digest()
    same: list[dict[str, Any]] = [
        {"name": "b"},
        {"set": {"views.overlap": 0.2}},
        {"set": {"monitor.on_collapse": "warn"}},
        {"user": {"training.threads": 1, "data.workers": 0, "training.device": "cpu"}},
    ]
    other: list[dict[str, Any]] = [
        {"seed": 1},
        {"steps": 11},
        {"steps": None},
        {"recipe": "simsiam"},
        {"set": {"views.overlap": 0.3}},
        {"set": {"backbone.name": "resnet34"}},
        {"batch_size": 32},
        {"user": {"training.precision": "bf16"}},
        {"of": replace(inputs, files=ImageFiles(tmp_path, ["a.jpg", "b.jpg", *inputs.files]))},
        {"of": replace(inputs, files=ImageFiles(tmp_path, [*inputs.files][::-1]))},  # views are drawn by index
    ]
    assert {digest(**options) for options in same} == {usual}
    assert len({usual, *(digest(**options) for options in other)}) == 1 + len(other)


def test_runs_that_learn_from_labels_are_told_apart_by_what_these_say(inputs: Inputs, tmp_path: Path) -> None:
    runs = []
    for name, text in (("a.csv", "0.jpg,cat"), ("same.csv", "0.jpg,cat"), ("other.csv", "0.jpg,dog")):
        (tmp_path / name).write_text(f"image,labels\n{text}\n")
        labeled = replace(inputs, train_labels=tmp_path / name)
        runs.append(planned_run(settled(labeled, recipe="supervised"), 5, 0, labeled, tmp_path).folder)
    assert runs[0] == runs[1] != runs[2]


def test_a_method_with_its_defaults_is_not_another_with_its(inputs: Inputs, tmp_path: Path) -> None:
    """Settings with their defaults do not count, but the name of the method does."""
    settings = [{}, {"method.name": "barlowtwins"}, {"method.name": "vicreg"}]
    runs = [planned_run(settled(inputs, recipe="simsiam", set=each), 5, 0, inputs, tmp_path) for each in settings]
    assert len({run.folder.name[-10:] for run in runs}) == 3
    assert len({run.pace_key for run in runs}) == 3


def test_the_pace_does_not_depend_on_length_and_seed(inputs: Inputs, tmp_path: Path) -> None:
    base = settled(inputs)
    runs = [planned_run(base, steps, seed, inputs, tmp_path) for steps, seed in ((1, 0), (9, 3))]
    assert {run.pace_key for run in runs} == {base.pace_key}


def test_the_pace_depends_on_device_and_threads(inputs: Inputs) -> None:
    usual: dict[str, Any] = {"recipe": "simsiam", "set": {"monitor.every": 3}}
    other = [{"training.device": "cpu"}, {"training.threads": 1}, {"training.precision": "bf16"}]
    assert len({settled(inputs, **usual, user=user).pace_key for user in ({}, *other)}) == 1 + len(other)
    assert settled(inputs, **usual, user={"data.workers": 1}).pace_key == settled(inputs, **usual).pace_key


def test_names_of_folders(inputs: Inputs) -> None:
    assert slug(Row(name="x", recipe="paper", set={"views": {"scale": [0.1, 1.0]}})) == "paper-scale-0.1-1.0"
    assert slug(Row(name="x", given="simsiam-imagenet")) == "simsiam-imagenet"
