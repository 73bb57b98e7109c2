"""Views in groups as settings: from --set and from files, with mistakes reported by the group's index."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from manyview.config import BlockViewsConfig, ConfigError, PretrainConfig, parse_assignment, resolve
from manyview.config.resolve import flatten
from manyview.recipes import recipe_settings

MULTI_CROP = "views.groups=[{size=224, count=2, scale=[.14,1]}, {size=96, count=6, scale=[0.05,0.14]}]"
GROUPS = "views.kind=groups"


def configured(*texts: str, recipe: str = "simsiam") -> PretrainConfig:
    base = {"data": {"images": "photos"}, **recipe_settings(recipe)}
    return resolve(base, [parse_assignment(text) for text in texts])


def problems(*texts: str, recipe: str = "simsiam") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        configured(*texts, recipe=recipe)
    return list(caught.value.problems)


def layout(config: PretrainConfig) -> list[tuple[int, int, tuple[float, float]]]:
    return [(group.size, group.count, group.augmentation.scale) for group in config.views.layout]


def test_multi_crop_from_the_command_line_and_from_a_file() -> None:
    expected = [(224, 2, (0.14, 1.0)), (96, 6, (0.05, 0.14))]
    config = configured(GROUPS, MULTI_CROP)
    assert layout(config) == expected
    file = """
        [views]
        kind = "groups"
        [[views.groups]]
        size = 224
        scale = [0.14, 1.0]
        [[views.groups]]
        size = 96
        count = 6
        scale = [0.05, 0.14]
    """
    read = resolve(
        {"data": {"images": "photos"}, **recipe_settings("simsiam")}, list(flatten(tomllib.loads(file), "a"))
    )
    assert read == config


def test_the_stored_configuration_gives_itself() -> None:
    for texts in ([GROUPS, MULTI_CROP, "views.flip=.1"], ["views.kind=both", "views.grid=[1,2]", "views.pairs=2"]):
        config = configured(*texts)
        stored = list(flatten(config.model_dump(mode="json"), "config.json"))
        assert resolve(recipe_settings("simsiam"), stored) == config


def test_blocks_and_the_whole_read_both_keys() -> None:
    config = configured("views.kind=both", "views.pairs=3", "views.grid=[1,2]", recipe="paper")
    (group,) = config.views.layout
    assert (group.of_block, group.of_whole, group.grid, group.overlap) == (2, 6, (1, 2), 0.2)


def test_the_learning_rate_counts_the_pairs_of_all_groups() -> None:
    rates = [configured(*texts, "training.batch_size=256").learning_rate for texts in ([GROUPS, MULTI_CROP], [])]
    assert rates == [0.05 * 4, 0.05]
    both = configured("views.kind=both", "training.batch_size=256", recipe="paper")
    assert both.pairs_per_step == 256 * 5


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ("[{}, {size=4}]", "views.groups[1].size (--set) must be greater than or equal to 8, not 4"),
        ("[{sise=96}]", "unknown key views.groups[0].sise (--set); did you mean size?"),
        ("[{mean=[.5]}]", "unknown key views.groups[0].mean (--set); choose from size, scale, ratio"),
        ("[{}, {source='half'}]", "views.groups[1].source (--set) must be 'whole', 'blocks' or 'both', not 'half'"),
        ("[{blur=[.5, 2]}]", "views.groups[0].blur (--set) must be less than or equal to 1, not 2"),
        ("[{blur=[]}]", "views.groups[0].blur: give at least one probability"),
        ("[{}, {}, {scale=[.5,.2]}]", "views.groups[2]: scale must be two ascending numbers above 0, not 0.5 and 0.2"),
        (
            "[{blur=[1,0,1]}]",
            "views.groups[0]: blur has 3 probabilities, one for each view, but there are only 2 views",
        ),
        ("[{grid=[3,3]}]", "views.groups[0].grid (--set) has no effect because source is whole, not blocks or both; l"),
        (
            "[{source='blocks', grid=[1,1], overlap=.3}]",
            "views.groups[0].overlap (--set) has no effect because grid is a single block, the whole image",
        ),
        ("[{}, {jitter=0, hue=.2}]", "views.groups[1].hue (--set) has no effect because jitter is 0; leave one"),
        ("[{blur=[0], blur_sigma=[1,2]}]", "views.groups[0].blur_sigma (--set) has no effect because blur is 0"),
        ("[{}, 3]", "views.groups[1] (--set) must be a table of settings, as in {size=96, count=6}, not 3"),
        ("[{count=0}]", "views.groups[0].count (--set) must be greater than or equal to 1, not 0"),
        ("[]", "views: groups must give at least two views of an image, which are compared with each other"),
        ("[{count=1}]", "views: groups must give at least two views of an image, which are compared with each other"),
        ("3", "views.groups (--set) must be a valid tuple, not 3"),
    ],
)
def test_mistakes_name_the_group(groups: str, sentence: str) -> None:
    (found,) = problems(GROUPS, f"views.groups={groups}")
    assert found.startswith(sentence)


def test_all_mistakes_of_all_groups_at_once() -> None:
    found = problems(GROUPS, "views.groups=[{size=4, flip=2}, {size=5}]")
    assert [sentence.partition(" ")[0] for sentence in found] == [
        *("views.groups[0].size", "views.groups[0].flip", "views.groups[1].size")
    ]


def test_settings_that_belong_to_other_views() -> None:
    assert problems(MULTI_CROP) == ["views.groups (--set) is read only with views.kind=groups, but views.kind is whole"]
    assert problems(GROUPS) == ["views.groups is missing"]
    (found,) = problems(GROUPS, MULTI_CROP, "views.grid=[2,2]")
    assert found == "views.grid (--set) is read only with views.kind=blocks or both, but views.kind is groups"


def test_a_setting_that_every_group_overrides_has_no_effect() -> None:
    (found,) = problems(GROUPS, MULTI_CROP, "views.size=64")
    assert found == (
        "views.size (--set) has no effect because every one of views.groups has its own; leave one of them out"
    )
    assert configured(GROUPS, "views.groups=[{}, {size=96}]", "views.size=64").views.layout[0].size == 64


def test_a_method_of_pairs_says_that_it_cannot_use_odd_groups() -> None:
    assert problems(GROUPS, "views.groups=[{}, {count=3}]") == [
        "views.groups[1].count is 3, but method.name is simsiam, which takes views in pairs: give it an even number"
    ]


@pytest.mark.parametrize("name", ["blur", "solarize"])
def test_one_probability_serves_all_views(name: str) -> None:
    values: dict[str, Any] = {name: (0.25,)}
    assert getattr(BlockViewsConfig(**values), name) == (0.25,)
    (found,) = problems(f"views.{name}=[1, 0, .5]", recipe="paper")
    assert found == f"views: {name} has 3 probabilities, one for each view, but there are only 2 views"
    assert len(getattr(configured(f"views.{name}=[1, 0, .5]", recipe="simsiam-4pairs").views, name)) == 3
