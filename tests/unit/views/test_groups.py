"""Views in groups: what each layout holds, and that the draws of a view depend on its index alone."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest

from manyview.config import (
    BlockAndWholeViewsConfig,
    BlockViewsConfig,
    GroupedViewsConfig,
    ViewGroup,
    ViewsConfig,
    WholeViewsConfig,
    in_pairs,
    resolve,
)
from manyview.recipes import RECIPES, recipe_settings
from manyview.views import ViewParameters, block_boxes, sample_groups, sample_views

MULTI_CROP = GroupedViewsConfig(
    groups=[
        {"size": 224, "count": 2, "scale": [0.14, 1.0], "blur": [1.0, 0.1], "solarize": [0.0, 0.2]},
        {"size": 96, "count": 6, "scale": [0.05, 0.14]},
    ]
)
WHOLE = (0, 0, 170, 128)


def sample(views: ViewsConfig, image: int = 0) -> tuple[tuple[ViewParameters, ...], ...]:
    return sample_groups(views.layout, 170, 128, seed=3, epoch=2, image=image)


def sizes(layout: tuple[ViewGroup, ...]) -> list[tuple[int, int]]:
    return [(group.size, group.count) for group in layout]


# SHA-256 of all parameters of four images, taken before there were groups: a layout may say the same otherwise, but
# the views of a seed, and with them every resumed run, must stay what they were.
RECORDED = {
    "paper": "434b6d06f61cf4328b9b500404c6e2665973e7277370b6f40a00f4f3467ba1d9",
    "paper-160": "434b6d06f61cf4328b9b500404c6e2665973e7277370b6f40a00f4f3467ba1d9",
    "released": "4608b8dc10d6ca51a5a993454bf2e753913aadd6895a071058cf81f2d636aeea",
    "simsiam": "7ce613c50823084f1ef79459d4eaebcd4cd413f9c892f27742dd57082531009b",
    "simsiam-4pairs": "4aad38153b3f2a593620328056ab6a9c1e6df9652cb843a8bee88533f49ba1b7",
}
IMAGES = [(640, 480, 0, 0, 0), (427, 640, 7, 3, 1234), (31, 40, 2**63 - 1, 199, 118286), (2000, 1, 5, 0, 1)]


@pytest.mark.parametrize("recipe", RECORDED)
def test_the_views_of_the_recipes_are_those_recorded(recipe: str) -> None:
    views = resolve({"data": {"images": "photos"}, **recipe_settings(recipe)}, []).views
    digest = hashlib.sha256()
    for width, height, seed, epoch, image in IMAGES:
        digest.update(repr(sample_views(views, width, height, seed=seed, epoch=epoch, image=image)).encode())
    assert digest.hexdigest() == RECORDED[recipe]


def test_every_recipe_of_those_days_is_recorded() -> None:
    assert RECORDED.keys() <= RECIPES.keys()


@pytest.mark.parametrize(
    ("views", "expected"),
    [
        (BlockViewsConfig(size=64), [(64, 8)]),
        (BlockViewsConfig(grid=(3, 5)), [(224, 30)]),
        (WholeViewsConfig(), [(224, 2)]),
        (WholeViewsConfig(pairs=4), [(224, 8)]),
        (BlockAndWholeViewsConfig(size=96), [(96, 10)]),
        (BlockAndWholeViewsConfig(grid=(1, 2), pairs=3), [(224, 10)]),
        (MULTI_CROP, [(224, 2), (96, 6)]),
        (
            GroupedViewsConfig(size=32, groups=[{"source": "blocks", "count": 1}, {"source": "both"}]),
            [(32, 4), (32, 10)],
        ),
    ],
)
def test_layouts_are_values(views: ViewsConfig, expected: list[tuple[int, int]]) -> None:
    assert sizes(views.layout) == expected
    assert [len(group) for group in sample(views)] == [count for _, count in expected]


def test_a_group_of_both_holds_the_blocks_views_and_then_those_of_the_whole() -> None:
    both = BlockAndWholeViewsConfig(overlap=0.1, grid=(1, 2), pairs=2)
    (views,) = sample(both)
    blocks = block_boxes(170, 128, 0.1, (1, 2))
    assert [view.block for view in views] == [blocks[0]] * 2 + [blocks[1]] * 2 + [WHOLE] * 4
    assert views[:4] == sample(BlockViewsConfig(overlap=0.1, grid=(1, 2)))[0]
    assert views[4:] == sample_views(WholeViewsConfig(pairs=4), 170, 128, seed=3, epoch=2, image=0)[4:]


def test_indices_count_on_through_the_groups() -> None:
    """A view's draws are those of its index, whatever the groups before it are."""
    large, small = sample(MULTI_CROP)
    alone = WholeViewsConfig(pairs=4, scale=(0.05, 0.14))
    assert small == sample_views(alone, 170, 128, seed=3, epoch=2, image=0)[2:]
    assert large + small == sample_views(MULTI_CROP, 170, 128, seed=3, epoch=2, image=0)


def test_several_views_of_each_block() -> None:
    views = GroupedViewsConfig(groups=[{"source": "blocks", "count": 3, "grid": [1, 2], "overlap": 0.0}])
    (group,) = sample(views)
    assert [view.block for view in group] == [(0, 0, 85, 128)] * 3 + [(85, 0, 170, 128)] * 3


def frequency(views: ViewsConfig, happened: Callable[[ViewParameters], bool], group: int, images: int = 2500) -> Any:
    """Share of images for which something happened, by view of a group."""
    return np.mean([[happened(view) for view in groups[group]] for groups in samples(views, images)], axis=0)


@functools.cache
def samples(views: ViewsConfig, images: int) -> list[Any]:
    return [sample(views, image) for image in range(images)]


def test_realized_frequencies_by_group_and_by_view() -> None:
    deviation = 0.5 / 50  # at most, of a share of 2,500
    large = frequency(MULTI_CROP, lambda view: view.blur_sigma is not None, group=0)
    np.testing.assert_allclose(large, [1.0, 0.1], atol=3.5 * deviation)
    solarized = frequency(MULTI_CROP, lambda view: view.solarize, group=0)
    assert solarized[0] == 0
    assert solarized[1] == pytest.approx(0.2, abs=3.5 * deviation)
    small = frequency(MULTI_CROP, lambda view: view.blur_sigma is not None, group=1)
    np.testing.assert_allclose(small, [0.5] * 6, atol=3.5 * deviation)
    gray = [frequency(MULTI_CROP, lambda view: view.grayscale, group=group) for group in (0, 1)]
    np.testing.assert_allclose(np.concatenate(gray), [0.2] * 8, atol=3.5 * deviation)


def test_probabilities_start_again_with_each_block() -> None:
    entry = {"source": "both", "grid": [1, 2], "count": 3, "blur": [1.0, 0.0, 0.0]}
    (group,) = sample(GroupedViewsConfig(groups=[entry]))
    assert [view.blur_sigma is not None for view in group] == [True, False, False] * 3


def test_crop_scales_are_the_groups() -> None:
    areas = [
        [(view.crop[2] - view.crop[0]) * (view.crop[3] - view.crop[1]) / (170 * 128) for view in group]
        for image in range(300)
        for group in sample(MULTI_CROP, image)
    ]
    large, small = np.concatenate(areas[::2]), np.concatenate(areas[1::2])
    assert 0.13 < large.min() < 0.2
    assert large.max() > 0.8
    assert 0.045 < small.min() < 0.07
    assert 0.12 < small.max() < 0.15


def test_what_a_group_does_not_say_is_that_of_all_views() -> None:
    views = GroupedViewsConfig(size=48, flip=0.1, blur=(0.3, 0.7), groups=[{"flip": 0.9}, {"size": 16, "blur": [1.0]}])
    first, second = (group.augmentation for group in views.layout)
    assert (first.size, first.flip, first.blur) == (48, 0.9, (0.3, 0.7))
    assert (second.size, second.flip, second.blur) == (16, 0.1, (1.0,))


def test_pairs_are_neighbors_of_one_block_or_of_the_whole() -> None:
    both = GroupedViewsConfig(groups=[{"source": "both", "grid": [1, 2], "count": 3}, {"count": 2}])
    assert in_pairs(both.layout) == ((0, 1), (2,), (3, 4), (5,), (6, 7), (8,), (9, 10))
    assert in_pairs(BlockViewsConfig().layout) == ((0, 1), (2, 3), (4, 5), (6, 7))
    assert list(islice(in_pairs(MULTI_CROP.layout), 1, None)) == [(2, 3), (4, 5), (6, 7)]
