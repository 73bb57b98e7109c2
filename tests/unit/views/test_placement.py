"""Crops of blocks that may lie anywhere: sizes of the blocks' own crops, uniform positions, nothing else changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from manyview.config import (
    BlockAndWholeViewsConfig,
    BlockViewsConfig,
    ConfigError,
    GroupedViewsConfig,
    ViewsConfig,
    parse_assignment,
    resolve,
)
from manyview.recipes import recipe_settings
from manyview.views import ViewParameters, block_boxes, sample_view, sample_views

SIGNIFICANT = 1e-3  # as in test_sampling.py
WIDTH, HEIGHT = 170, 128
BLOCKS: dict[str, Any] = {"overlap": 0.1, "scale": (0.2, 0.6)}


def views_of(config: ViewsConfig, count: int, width: int = WIDTH, height: int = HEIGHT) -> list[list[ViewParameters]]:
    """Of each image of one size."""
    return [list(sample_views(config, width, height, seed=3, epoch=1, image=image)) for image in range(count)]


def crops_of(config: ViewsConfig, count: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Int array (images, views, 4)."""
    return np.array([[view.crop for view in views] for views in views_of(config, count, width, height)])


def test_sizes_and_augmentations_are_those_of_the_blocks_crops() -> None:
    stay, moved = (
        [view for views in views_of(BlockViewsConfig(**BLOCKS, placement=placement), 60) for view in views]
        for placement in ("block", "anywhere")
    )
    for before, after in zip(stay, moved, strict=True):
        (left, top, right, bottom), (x, y, end, low) = before.crop, after.crop
        assert (end - x, low - y) == (right - left, bottom - top)
        assert 0 <= x < end <= WIDTH
        assert 0 <= y < low <= HEIGHT
        assert after.block == (0, 0, WIDTH, HEIGHT)
        assert (after.flip, after.jitter, after.grayscale) == (before.flip, before.jitter, before.grayscale)
        assert (after.blur_sigma, after.solarize) == (before.blur_sigma, before.solarize)


def test_positions_are_uniform_whichever_the_block() -> None:
    crops = crops_of(BlockViewsConfig(**BLOCKS, placement="anywhere"), 1500)
    rng = np.random.default_rng(0)
    for view in range(8):
        for axis, side in ((0, WIDTH), (1, HEIGHT)):
            start = crops[:, view, axis]
            room = side - (crops[:, view, axis + 2] - start)
            # Uniform among the room + 1 pixels, made continuous.
            shares = (start + rng.random(len(start))) / (room + 1)
            assert kstest(shares, "uniform").pvalue > SIGNIFICANT


def test_every_pixel_of_the_room_is_as_likely() -> None:
    """Blocks of 12 x 6 pixels, all of which is shown: 9 x 5 positions in an image of 20 x 10."""
    config = BlockViewsConfig(overlap=0.1, scale=(1.0, 1.0), ratio=(2.0, 2.0), placement="anywhere")
    width, height = 20, 10
    left, top, right, bottom = block_boxes(width, height, 0.1)[0]
    crops = crops_of(config, 1000, width, height).reshape(-1, 4)
    assert set(crops[:, 2] - crops[:, 0]) == {right - left}
    assert set(crops[:, 3] - crops[:, 1]) == {bottom - top}
    counts = np.zeros((height - (bottom - top) + 1, width - (right - left) + 1))
    np.add.at(counts, (crops[:, 1], crops[:, 0]), 1)
    assert chisquare(counts.ravel()).pvalue > SIGNIFICANT


def test_the_views_of_a_pair_move_independently() -> None:
    """Also of the position that the crop would have had in its block."""
    stay, moved = (
        crops_of(BlockViewsConfig(**BLOCKS, placement=placement), 1500) for placement in ("block", "anywhere")
    )
    for axis, side in ((0, WIDTH), (1, HEIGHT)):
        shares = (moved[..., axis] + 0.5) / (side - (moved[..., axis + 2] - moved[..., axis]) + 1)
        within = stay[..., axis] - np.array([box[axis] for box in block_boxes(WIDTH, HEIGHT, 0.1) for _ in range(2)])
        limit = 4 / np.sqrt(len(shares))
        for view in range(0, 8, 2):
            assert abs(np.corrcoef(shares[:, view], shares[:, view + 1])[0, 1]) < limit
            assert abs(np.corrcoef(shares[:, view], within[:, view])[0, 1]) < limit


def test_one_view_is_that_of_all_views() -> None:
    config = BlockViewsConfig(**BLOCKS, placement="anywhere")
    together = sample_views(config, 50, 40, seed=1, epoch=2, image=3)
    alone = tuple(sample_view(config, 50, 40, seed=1, epoch=2, image=3, view=view) for view in range(8))
    assert alone == together


def test_crops_of_the_whole_stay() -> None:
    """Of the views beside the blocks', and of groups without placement."""
    stay, moved = (
        crops_of(BlockAndWholeViewsConfig(grid=(1, 2), placement=placement), 20) for placement in ("block", "anywhere")
    )
    np.testing.assert_array_equal(moved[:, 4:], stay[:, 4:])
    assert (moved[:, :4] != stay[:, :4]).any()
    entries: list[dict[str, Any]] = [{"source": "blocks"}, {"source": "both", "count": 1}]
    old = crops_of(GroupedViewsConfig(groups=entries), 20)
    new = crops_of(GroupedViewsConfig(groups=[entries[0], {**entries[1], "placement": "anywhere"}]), 20)
    np.testing.assert_array_equal(new[:, :8], old[:, :8])
    np.testing.assert_array_equal(new[:, 12:], old[:, 12:])
    assert (new[:, 8:12] != old[:, 8:12]).any(axis=(0, 2)).all()


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (
            ["views.grid=[1,1]", "views.placement=anywhere"],
            "views.placement (--set) has no effect because grid is a single block, the whole image",
        ),
        (["views.kind=whole", "views.placement=anywhere"], "read only with views.kind=blocks or both"),
        (
            ["views.kind=groups", 'views.groups=[{placement="anywhere"}]'],
            "views.groups[0].placement (--set) has no effect because source is whole, not blocks or both",
        ),
        (
            ["views.kind=groups", 'views.groups=[{source="blocks", grid=[1,1], placement="anywhere"}]'],
            "views.groups[0].placement (--set) has no effect because grid is a single block",
        ),
        (["views.placement=image"], "views.placement"),
    ],
)
def test_where_it_has_no_effect(texts: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({"data": {"images": "photos"}}, [parse_assignment(text) for text in texts])
    assert sentence in str(caught.value)


def test_the_recipe_is_simsiam_on_moved_crops_of_the_papers_blocks() -> None:
    config, paper, control = (
        resolve({"data": {"images": "photos"}, **recipe_settings(name)}, [])
        for name in ("simsiam-same-size", "paper", "simsiam-4pairs")
    )
    assert config.views == paper.views.model_copy(update={"placement": "anywhere"})
    assert (config.method, config.losses, config.training) == (control.method, control.losses, control.training)
