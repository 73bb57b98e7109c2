from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import manyview
from manyview.backbones import save_backbone, wrap_backbone
from manyview.config import ConfigError
from manyview.errors import UserError
from manyview.recipes import RECIPES, pretrain
from manyview.recipes.launch import read_config_file
from tests.helpers.tiny import SETTINGS, TinyNet, train_tiny


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_each_recipe_trains(photos: Path, labels: Path, tmp_path: Path, recipe: str) -> None:
    further: dict[str, Any] = {"labels": labels} if recipe == "supervised" else {}
    if recipe == "continue":
        save_backbone(wrap_backbone(TinyNet(), 16), tmp_path / "w.safetensors", {})
        further = {"init": tmp_path / "w.safetensors", "settings": {"training.freeze_backbone_steps": 1}}
    if recipe in ("swav", "dino"):
        further = {"settings": {"views.groups": [{"count": 2}, {"size": 8, "count": 6}]}}
    run = train_tiny(photos, tmp_path / "run", recipe=recipe, epochs=1, **further)

    views = RECIPES[recipe].get("views", {})
    pairs = views.get("pairs", 1) if views.get("kind") == "whole" else 4
    assert run.read_json("config.json")["recipe"] == recipe
    assert run.read_json("run.json")["plan"]["views_per_step"] == 2 * pairs * 4
    with_contrast = recipe in ("paper", "paper-160", "released", "sup", "sup-matched")
    assert all(("image_aware" in record) == with_contrast for record in run.read_metrics())


def test_configuration_of_a_run_repeats_it(photos: Path, tmp_path: Path) -> None:
    first = train_tiny(photos, tmp_path / "a", recipe="released", seed=3, settings={"losses.image_aware.weight": 0.0})

    second = pretrain(out=tmp_path / "b", config=first.path / "config.json", backbone=TinyNet(), quiet=True)

    assert second.weights.read_bytes() == first.weights.read_bytes()
    assert second.read_json("config.json") == first.read_json("config.json")


def test_file_gives_settings_and_arguments_win_over_it(photos: Path, tmp_path: Path) -> None:
    toml = tmp_path / "a.toml"
    toml.write_text('recipe = "simsiam"\n[training]\nepochs = 7\nseed = 5\n[views]\npairs = 2\n')
    as_json = tmp_path / "a.json"
    as_json.write_text(json.dumps({"recipe": "simsiam", "training": {"epochs": 7, "seed": 5}, "views": {"pairs": 2}}))

    for number, file in enumerate((toml, as_json)):
        run = train_tiny(photos, tmp_path / str(number), config=file, epochs=1)
        config = run.read_json("config.json")
        assert (config["recipe"], config["training"]["epochs"], config["training"]["seed"]) == ("simsiam", 1, 5)
        assert config["views"]["pairs"] == 2


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.toml", "epochs = ", r"a\.toml is not valid TOML"),
        ("a.json", "{", r"a\.json is not valid JSON"),
        ("a.json", "[1]", r"a\.json does not hold settings by name"),
        ("a.toml", None, r"a\.toml cannot be read: No such file"),
    ],
)
def test_file_that_holds_no_settings(tmp_path: Path, name: str, content: str | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)

    with pytest.raises(UserError, match=sentence):
        read_config_file(tmp_path / name)


def test_mistakes_of_all_sources_come_together(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[training]\nepoch = 3\n")

    with pytest.raises(ConfigError) as caught:
        pretrain(
            photos,
            tmp_path / "run",
            recipe="papr",
            config=tmp_path / "a.toml",
            view_size=0,
            set=["views.overlap=.7", "oops"],
        )

    problems = caught.value.problems
    assert len(problems) == 5
    for part in (
        "unknown recipe 'papr'; did you mean paper?",
        "--set 'oops' is not KEY=VALUE",
        "did you mean training.epochs?",
        "views.size (--view-size) must be greater than or equal to 8, not 0",
        "views.overlap (--set) must be less than or equal to 0.5, not 0.7",
    ):
        assert any(part in problem for problem in problems), part
    assert not (tmp_path / "run").exists()


def test_out_is_needed(photos: Path) -> None:
    with pytest.raises(UserError, match="out is missing"):
        pretrain(photos)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"training.device": "cuda"}, "PyTorch sees no CUDA device"),
        ({"training.device": "tpv"}, 'unknown training.device \'tpv\': use "auto", "cpu"'),
        ({"backbone.name": "resnet81"}, "unknown backbone 'resnet81'; did you mean resnet"),
    ],
)
def test_what_only_the_machine_can_tell(photos: Path, tmp_path: Path, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        pretrain(photos, tmp_path / "run", set={**SETTINGS, **settings}, quiet=True)

    assert not (tmp_path / "run").exists()


def test_backbone_that_gives_no_map(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="feature map"):
        train_tiny(photos, tmp_path / "run", backbone=nn.Sequential(nn.Flatten(), nn.Linear(768, 4)))


def test_weights_load_as_a_plain_module(photos: Path, tmp_path: Path) -> None:
    run = train_tiny(photos, tmp_path / "run", backbone="timm/test_resnet", view_size=32, epochs=1)

    backbone = manyview.load_backbone(tmp_path / "run")
    again = manyview.load_backbone(run.weights)

    features = backbone(torch.rand(2, 3, 64, 64))
    assert features.ndim == 4
    assert not backbone.training
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in backbone.state_dict().items())


def test_same_seed_same_weights_other_seed_others(photos: Path, tmp_path: Path) -> None:
    first, second, other = (
        train_tiny(photos, tmp_path / str(number), seed=seed, epochs=1).weights.read_bytes()
        for number, seed in enumerate((4, 4, 5))
    )

    assert first == second != other


def test_a_list_restricts_the_images(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{index:02d}.jpg\n" for index in range(0, 16, 2)))

    run = train_tiny(photos, tmp_path / "run", list=tmp_path / "list.txt", epochs=1)

    assert run.read_json("run.json")["data"]["photographs"] == 8


def test_a_recipe_that_contradicts_the_file_is_refused(photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"recipe": "paper"}')

    with pytest.raises(UserError, match=r"the recipe is released, but paper in .*config\.json; name one"):
        manyview.pretrain(photos, tmp_path / "run", recipe="released", config=file)


def test_a_module_of_ones_own_must_be_handed_over(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the backbone is here\.Net, a module of your own: call manyview.pretrain"):
        manyview.pretrain(photos, tmp_path / "run", backbone="own:here.Net")
