"""Settings of bands: what fits together, and what says so where it does not."""

from __future__ import annotations

import pytest

from manyview.config import ConfigError, PretrainConfig, parse_assignment, resolve
from manyview.config.resolve import flatten
from manyview.recipes import recipe_settings


def configured(*texts: str, recipe: str = "paper") -> PretrainConfig:
    base = {"data": {"images": "photos"}, **recipe_settings(recipe)}
    return resolve(base, [parse_assignment(text) for text in texts])


def problems(*texts: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        configured(*texts)
    return caught.value.problems


@pytest.mark.parametrize(
    ("texts", "bands", "channels", "colors"),
    [
        ((), "rgb", 3, (0, 1, 2)),
        (("data.bands=rgb",), "rgb", 3, (0, 1, 2)),
        (("data.bands=3",), 3, 3, None),
        (("data.bands=1",), 1, 1, None),
        (("data.bands=5", "data.rgb_bands=[4,2,0]"), 5, 5, (4, 2, 0)),
    ],
)
def test_channels_and_colors(
    texts: tuple[str, ...], bands: str | int, channels: int, colors: tuple[int, int, int] | None
) -> None:
    data = configured(*texts).data

    assert (data.bands, data.channels, data.color_channels) == (bands, channels, colors)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (("data.bands=0",), "data.bands (--set) must be 'rgb' or greater than or equal to 1, not 0"),
        (("data.bands=five",), "data.bands (--set) must be 'rgb' or a valid integer, not 'five'"),
        (
            ("data.bands=5", "data.rgb_bands=[0,1]"),
            "data.rgb_bands (--set) has too few values: [0, 1]",
        ),
        (
            ("data.bands=5", "data.rgb_bands=[0,1,5]"),
            "data.rgb_bands is [0, 1, 5], but must name three different bands from 0 to 4, as data.bands is 5",
        ),
        (
            ("data.bands=5", "data.rgb_bands=[0,1,1]"),
            "data.rgb_bands is [0, 1, 1], but must name three different bands from 0 to 4, as data.bands is 5",
        ),
        (
            ("data.bands=5", "data.rgb_bands=[0,1,-1]"),
            "data.rgb_bands (--set) must be greater than or equal to 0, not -1",
        ),
        (
            ("data.rgb_bands=[0,1,2]",),
            "data.rgb_bands (--set) has no effect because data.bands is rgb; leave one of them out",
        ),
        (
            ("data.bands=5", "views.mean=[.1,.2,.3]"),
            "views.mean has 3 numbers, but needs one for each of 5 bands, as data.bands is 5",
        ),
        (
            ("views.std=[.1,.2,.3,.4]",),
            "views.std has 4 numbers, but needs one for each of 3 bands, as data.bands is rgb",
        ),
        (("views.std=[.1,.2,0]",), "views.std (--set) must be greater than 0, not 0"),
        (("views.mean=.5",), "views.mean (--set) must be a valid tuple, not 0.5"),
    ],
)
def test_one_mistake(texts: tuple[str, ...], sentence: str) -> None:
    assert problems(*texts) == (sentence,)


@pytest.mark.parametrize("name", ["jitter", "brightness", "contrast", "saturation", "hue", "grayscale"])
def test_colors_of_bands_without_any_have_no_effect(name: str) -> None:
    (found,) = problems("data.bands=5", f"views.{name}=.3")

    assert found == (
        f"views.{name} (--set) has no effect because data.rgb_bands names none of the 5 bands as red, green and blue; "
        "leave one of them out"
    )
    assert configured("data.bands=5", "data.rgb_bands=[2,1,0]", f"views.{name}=.3").views.kind == "blocks"


def test_a_recipes_colors_are_no_contradiction() -> None:
    assert configured("data.bands=5", recipe="released").views.solarize == (0.5, 0.2)
    assert problems("data.bands=5", "views.solarize=[.5,.5]")


@pytest.mark.parametrize("recipe", ["released", "dino"])
def test_a_runs_own_file_may_be_given_again(recipe: str) -> None:
    config = configured("data.bands=5", "views.mean=[.1,.1,.1,.1,.1]", "views.std=[.2,.2,.2,.2,.2]", recipe=recipe)
    stated = list(flatten(config.model_dump(mode="json"), "config.json"))

    assert resolve(recipe_settings(recipe), stated) == config


def test_a_group_of_another_file_may_not_have_colors_without_any() -> None:
    groups = {"kind": "groups", "groups": [{"solarize": [0.0, 0.2]}, {"solarize": [0.5, 0.5]}]}
    stated = flatten({"data": {"images": "photos", "bands": 5}, "views": groups}, "own.toml")

    with pytest.raises(ConfigError) as caught:
        resolve(recipe_settings("dino"), list(stated))

    (problem,) = caught.value.problems  # the first is the recipe's own
    assert problem.startswith("views.groups[1].solarize (own.toml) has no effect because data.rgb_bands names none")
