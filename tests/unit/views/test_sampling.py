"""Sampled parameters: their distribution against torchvision's, their frequencies, their independence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, ks_2samp, kstest
from torchvision.transforms import ColorJitter as TorchvisionJitter
from torchvision.transforms import RandomResizedCrop

from manyview.config import (
    BlockAndWholeViewsConfig,
    BlockViewsConfig,
    GroupedViewsConfig,
    ViewsConfig,
    WholeViewsConfig,
)
from manyview.views import ColorJitter, ViewParameters, block_boxes, sample_view, sample_views, views_per_image

# The samples are fixed by their seeds, so a test either always passes or always fails. A right sampler falls below
# this probability in one of a thousand comparisons, a wrong one far below it.
SIGNIFICANT = 1e-3
ALWAYS: dict[str, Any] = {"flip": 1.0, "jitter": 1.0, "grayscale": 1.0, "blur": (1.0, 1.0), "solarize": (1.0, 1.0)}


def stream(config: ViewsConfig, width: int = 170, height: int = 128, seed: int = 0) -> Iterator[ViewParameters]:
    image = 0
    while True:
        yield from sample_views(config, width, height, seed=seed, epoch=0, image=image)
        image += 1


def sample(config: ViewsConfig, count: int, width: int = 170, height: int = 128, seed: int = 0) -> list[ViewParameters]:
    return list(islice(stream(config, width, height, seed), count))


CROPS = {
    "usual": (170, 128, (0.2, 1.0), (3 / 4, 4 / 3)),
    "scale of the control": (128, 170, (0.098, 0.49), (3 / 4, 4 / 3)),
    "narrow scale: many attempts": (150, 100, (0.85, 1.0), (3 / 4, 4 / 3)),
    "elongated: mostly fallback": (300, 60, (0.2, 0.4), (3 / 4, 4 / 3)),
    "few pixels": (7, 4, (0.05, 1.0), (1 / 2, 2.0)),
    "one-sided ratio": (80, 90, (0.08, 1.0), (1.0, 3.0)),
}


@pytest.mark.parametrize("case", CROPS)
def test_crop_has_the_law_of_torchvision(case: str) -> None:
    width, height, scale, ratio = CROPS[case]
    config = WholeViewsConfig(scale=scale, ratio=ratio)
    ours = np.array([view.crop for view in sample(config, 3000, width, height)])
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(3000)])
    left, top, right, bottom = ours.T
    their_top, their_left, their_height, their_width = theirs.T
    for mine, yours in [
        (left, their_left),
        (top, their_top),
        (right - left, their_width),
        (bottom - top, their_height),
        (right, their_left + their_width),
        (bottom, their_top + their_height),
        ((right - left) * (bottom - top), their_width * their_height),
        ((right - left) / (bottom - top), their_width / their_height),
    ]:
        assert ks_2samp(mine, yours, method="asymp").pvalue > SIGNIFICANT


@pytest.mark.parametrize("size", [(20, 1), (1, 20), (400, 20), (20, 400), (33, 9), (9, 33), (1000, 3), (3, 1000)])
def test_fallback_crop_equals_torchvision(size: tuple[int, int]) -> None:
    width, height = size
    config = WholeViewsConfig(scale=(1.0, 1.0))
    top, left, down, across = RandomResizedCrop.get_params(torch.empty(3, height, width), [1.0, 1.0], [3 / 4, 4 / 3])
    for view in sample(config, 20, width, height):
        assert view.crop == (left, top, left + across, top + down)


def test_fallback_crop_keeps_a_pixel_where_torchvision_has_none() -> None:
    ratio = (3.0, 4.0)
    assert RandomResizedCrop.get_params(torch.empty(3, 5, 1), [1.0, 1.0], list(ratio))[2] == 0
    assert sample(WholeViewsConfig(scale=(1.0, 1.0), ratio=ratio), 1, 1, 5)[0].crop == (0, 2, 1, 3)


def test_share_of_the_image_that_a_block_view_shows() -> None:
    shares = []
    for view in sample(BlockViewsConfig(overlap=0.2), 3000, 1000, 1000):
        left, top, right, bottom = view.crop
        shares.append((right - left) * (bottom - top) / 1e6)
    assert min(shares) == pytest.approx(0.098, abs=0.002)
    assert max(shares) == pytest.approx(0.49, abs=0.01)
    # Of the areas asked for the mean is 29.4 %. A large area whose ratio does not fit in the block is drawn again, as
    # in torchvision, so the mean of what is shown is lower.
    torch.manual_seed(0)
    block = torch.empty(3, 700, 700)
    drawn = [RandomResizedCrop.get_params(block, [0.2, 1.0], [3 / 4, 4 / 3])[2:] for _ in range(3000)]
    assert np.mean(shares) == pytest.approx(np.mean([h * w for h, w in drawn]) / 1e6, abs=0.005)


@pytest.mark.parametrize(
    "strengths", [(0.4, 0.4, 0.4, 0.1), (0.8, 0.2, 1.5, 0.5), (1.0, 3.0, 0.1, 0.02)], ids=["usual", "strong", "odd"]
)
def test_jitter_has_the_law_of_torchvision(strengths: tuple[float, float, float, float]) -> None:
    names = ("brightness", "contrast", "saturation", "hue")
    config = WholeViewsConfig(jitter=1.0, **dict(zip(names, strengths, strict=True)))
    ours = [view.jitter for view in sample(config, 3000)]
    theirs = TorchvisionJitter(*strengths)
    torch.manual_seed(0)
    drawn = [
        theirs.get_params(theirs.brightness, theirs.contrast, theirs.saturation, theirs.hue)[1:] for _ in range(3000)
    ]
    for place, name in enumerate(names):
        mine = [getattr(jitter, name) for jitter in ours]
        assert ks_2samp(mine, [values[place] for values in drawn], method="asymp").pvalue > SIGNIFICANT


def test_orders_of_the_jitter_are_equally_frequent() -> None:
    orders = Counter(view.jitter.order for view in sample(BlockViewsConfig(jitter=1.0), 4_800) if view.jitter)
    assert len(orders) == 24
    assert all(sorted(order) == ["brightness", "contrast", "hue", "saturation"] for order in orders)
    assert chisquare(list(orders.values())).pvalue > SIGNIFICANT


def test_jitter_of_no_strength_is_left_out() -> None:
    config = WholeViewsConfig(jitter=1.0, brightness=0.0, hue=0.0)
    orders = Counter(view.jitter.order for view in sample(config, 2000) if view.jitter)
    assert set(orders) == {("contrast", "saturation"), ("saturation", "contrast")}
    assert chisquare(list(orders.values())).pvalue > SIGNIFICANT
    nothing = WholeViewsConfig(jitter=1.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    assert all(view.jitter is None for view in sample(nothing, 50))


FREQUENCIES: dict[str, Callable[[ViewParameters], bool]] = {
    "flip": lambda view: view.flip,
    "jitter": lambda view: view.jitter is not None,
    "grayscale": lambda view: view.grayscale,
    "blur": lambda view: view.blur_sigma is not None,
    "solarize": lambda view: view.solarize,
}


def assert_frequency(happened: list[bool], probability: float) -> None:
    deviation = math.sqrt(probability * (1 - probability) / len(happened))
    assert np.mean(happened) == pytest.approx(probability, abs=4 * deviation)


@pytest.mark.parametrize("kind", [BlockViewsConfig, WholeViewsConfig])
def test_realized_frequency_of_each_operation(kind: type[BlockViewsConfig] | type[WholeViewsConfig]) -> None:
    views = sample(kind(), 5_000)
    simsiam = {"flip": 0.5, "jitter": 0.8, "grayscale": 0.2, "blur": 0.5, "solarize": 0.0}
    for name, probability in simsiam.items():
        for member in (0, 1):
            assert_frequency([FREQUENCIES[name](view) for view in views[member::2]], probability)


def test_realized_frequency_where_the_views_of_a_pair_differ() -> None:
    views = sample(BlockViewsConfig(blur=(0.5, 0.1), solarize=(0.35, 0.2), flip=0.3, grayscale=0.7), 5_000)
    for name, first, second in [
        ("blur", 0.5, 0.1),
        ("solarize", 0.35, 0.2),
        ("flip", 0.3, 0.3),
        ("grayscale", 0.7, 0.7),
    ]:
        assert_frequency([FREQUENCIES[name](view) for view in views[::2]], first)
        assert_frequency([FREQUENCIES[name](view) for view in views[1::2]], second)


@pytest.mark.parametrize("name", FREQUENCIES)
@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_never_and_always(name: str, probability: float) -> None:
    value = (probability, probability) if name in ("blur", "solarize") else probability
    config = BlockViewsConfig.model_validate({name: value})
    assert {FREQUENCIES[name](view) for view in sample(config, 800)} == {probability == 1}


def test_sigma_of_the_blur_is_uniform() -> None:
    sigmas = [view.blur_sigma for view in sample(WholeViewsConfig(blur=(1.0, 1.0), blur_sigma=(0.1, 2.0)), 3000)]
    assert kstest(sigmas, "uniform", args=(0.1, 1.9)).pvalue > SIGNIFICANT


CHANGES: dict[str, tuple[Any, set[str]]] = {
    "flip": (0.1, {"flip"}),
    "jitter": (0.3, {"jitter"}),
    "brightness": (0.9, {"jitter"}),
    "grayscale": (0.6, {"grayscale"}),
    "blur": ((0.1, 0.9), {"blur_sigma"}),
    "blur_sigma": ((0.5, 3.0), {"blur_sigma"}),
    "solarize": ((0.5, 0.5), {"solarize"}),
    "scale": ((0.3, 0.7), {"crop"}),
    "ratio": ((0.9, 1.1), {"crop"}),
    "overlap": (0.4, {"block", "crop"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changing_one_setting_shifts_no_other_draw(name: str) -> None:
    value, expected = CHANGES[name]
    before = sample(BlockViewsConfig(), 200)
    after = sample(BlockViewsConfig.model_validate({name: value}), 200)
    fields = ("block", "crop", "flip", "jitter", "grayscale", "blur_sigma", "solarize")
    changed = {
        field for a, b in zip(before, after, strict=True) for field in fields if getattr(a, field) != getattr(b, field)
    }
    assert changed == expected


def features(view: ViewParameters) -> tuple[float, ...]:
    """Numbers that are independent of each other, drawn in different places of a view's stream."""
    left, top, right, bottom = view.crop
    assert view.jitter is not None
    assert view.blur_sigma is not None
    jitter = view.jitter
    return (
        (right - left) * (bottom - top),
        left / (1001 - (right - left)),
        top / (1001 - (bottom - top)),
        view.flip,
        view.grayscale,
        view.solarize,
        jitter.brightness,
        jitter.contrast,
        jitter.saturation,
        jitter.hue,
        jitter.order.index("hue"),
        view.blur_sigma,
    )


@pytest.fixture(scope="module")
def grid() -> np.ndarray:
    """Features by seed, epoch, image and view."""
    config = WholeViewsConfig(
        pairs=4, flip=0.5, jitter=1.0, grayscale=0.5, blur=(1.0, 1.0), solarize=(0.5, 0.5), ratio=(1.0, 1.0)
    )
    return np.array(
        [
            [
                [
                    [features(view) for view in sample_views(config, 1000, 1000, seed=seed, epoch=epoch, image=image)]
                    for image in range(40)
                ]
                for epoch in range(5)
            ]
            for seed in range(5)
        ]
    )


@pytest.mark.parametrize("axis", range(4), ids=["seeds", "epochs", "images", "views"])
def test_neighbours_are_independent(grid: np.ndarray, axis: int) -> None:
    count = grid.shape[-1]
    first = np.delete(grid, -1, axis=axis).reshape(-1, count)
    second = np.delete(grid, 0, axis=axis).reshape(-1, count)
    correlations = np.corrcoef(first.T, second.T)[:count, count:]
    assert np.abs(correlations).max() < 4.5 / math.sqrt(len(first))


def test_decisions_of_a_view_are_independent(grid: np.ndarray) -> None:
    flat = grid.reshape(-1, grid.shape[-1])
    correlations = np.corrcoef(flat.T) - np.eye(flat.shape[1])
    assert np.abs(correlations).max() < 4.5 / math.sqrt(len(flat))


def test_no_two_views_share_their_draws(grid: np.ndarray) -> None:
    flat = grid.reshape(-1, grid.shape[-1])
    for continuous in (6, 7, 8, 9, 11):
        assert len(np.unique(flat[:, continuous])) == len(flat)


def test_swapping_two_of_the_four_indices_gives_other_views() -> None:
    config = WholeViewsConfig(pairs=4)
    seen = {
        sample_view(config, 100, 100, seed=seed, epoch=epoch, image=image, view=view)
        for seed in (1, 2, 2**63 - 1)
        for epoch in (1, 2)
        for image in (1, 2, 2**40)
        for view in (1, 2)
    }
    assert len(seen) == 3 * 2 * 3 * 2


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (BlockViewsConfig(blur=(1.0, 0.0)), 8),
        (BlockViewsConfig(grid=(3, 4)), 24),
        (WholeViewsConfig(), 2),
        (WholeViewsConfig(pairs=3), 6),
        (BlockAndWholeViewsConfig(pairs=2), 12),
        (GroupedViewsConfig(groups=[{"source": "both", "count": 3}, {"blur": [1.0, 0.0], "solarize": [0.5]}]), 17),
    ],
)
def test_one_view_is_that_of_all_views_in_any_order(config: ViewsConfig, count: int) -> None:
    together = sample_views(config, 170, 128, seed=3, epoch=2, image=11)
    assert len(together) == views_per_image(config) == count
    for view in reversed(range(len(together))):
        np.random.seed(view)
        torch.manual_seed(view)
        assert sample_view(config, 170, 128, seed=3, epoch=2, image=11, view=view) == together[view]


def test_global_generators_are_left_alone() -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    sample(BlockViewsConfig(), 16)
    assert np.array_equal(before[0], np.random.get_state()[1])
    assert torch.equal(before[1], torch.get_rng_state())


def test_pairs_belong_to_blocks_in_their_order() -> None:
    views = sample_views(BlockViewsConfig(overlap=0.1), 100, 60, seed=0, epoch=0, image=0)
    assert [view.block for view in views] == [box for box in block_boxes(100, 60, 0.1) for _ in range(2)]
    whole = sample_views(WholeViewsConfig(pairs=2), 100, 60, seed=0, epoch=0, image=0)
    assert [view.block for view in whole] == [(0, 0, 100, 60)] * 4
    config = BlockViewsConfig(overlap=0.1, grid=(3, 2))
    assert views_per_image(config) == 12
    views = sample_views(config, 100, 60, seed=0, epoch=0, image=0)
    assert [view.block for view in views] == [box for box in block_boxes(100, 60, 0.1, (3, 2)) for _ in range(2)]


def test_a_larger_grid_draws_more_views_and_leaves_the_first_ones_draws() -> None:
    few, many = (
        sample_views(BlockViewsConfig(grid=grid), 300, 200, seed=4, epoch=1, image=9) for grid in ((2, 2), (3, 3))
    )
    assert (len(few), len(many)) == (8, 18)
    for name in ("flip", "jitter", "grayscale", "blur_sigma", "solarize"):
        assert [getattr(view, name) for view in few] == [getattr(view, name) for view in many[:8]]
    assert len({(view.crop, view.jitter, view.blur_sigma) for view in many}) == 18


# Drawn when there were four blocks only. Whoever changes them changes what every seed and every resumed run means.
PINNED: dict[tuple[int, int], ViewParameters] = {
    (0, 0): ViewParameters(
        block=(0, 0, 448, 336),
        crop=(28, 33, 258, 311),
        flip=True,
        jitter=ColorJitter(
            order=("brightness", "saturation", "contrast", "hue"),
            brightness=1.051531697285707,
            contrast=1.0019036834188042,
            saturation=0.8220844615076428,
            hue=0.08930885855784282,
        ),
        grayscale=False,
        blur_sigma=0.4705960936984195,
        solarize=False,
    ),
    (0, 7): ViewParameters(
        block=(192, 144, 640, 480),
        crop=(220, 255, 484, 479),
        flip=True,
        jitter=None,
        grayscale=True,
        blur_sigma=None,
        solarize=False,
    ),
    (1, 3): ViewParameters(
        block=(85, 0, 427, 512),
        crop=(175, 100, 379, 352),
        flip=True,
        jitter=ColorJitter(
            order=("saturation", "contrast", "brightness", "hue"),
            brightness=0.6034587502220864,
            contrast=0.9884108857548806,
            saturation=1.3925154085788107,
            hue=0.020535841701293148,
        ),
        grayscale=False,
        blur_sigma=None,
        solarize=False,
    ),
}


@pytest.mark.parametrize("key", PINNED)
def test_the_views_of_a_seed_stay_what_they_were(key: tuple[int, int]) -> None:
    run, view = key
    released = {"overlap": 0.3, "blur": (0.5, 0.1), "solarize": (0.5, 0.2)}
    config, size, seed, epoch, image = [
        (BlockViewsConfig(), (640, 480), 0, 0, 0),
        (BlockViewsConfig.model_validate(released), (427, 640), 7, 3, 1234),
    ][run]
    assert sample_views(config, *size, seed=seed, epoch=epoch, image=image)[view] == PINNED[key]


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 3), (400, 20), (20, 400), (2000, 1), (1, 2000), (31, 40), (7, 5)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("grid", [(2, 2), (3, 5)])
def test_crop_lies_within_its_block(size: tuple[int, int], overlap: float, grid: tuple[int, int]) -> None:
    config = BlockViewsConfig(overlap=overlap, grid=grid, scale=(0.01, 1.0), ratio=(0.3, 3.0))
    for view in sample(config, 240, *size):
        left, top, right, bottom = view.crop
        assert view.block[0] <= left < right <= view.block[2]
        assert view.block[1] <= top < bottom <= view.block[3]


def test_parameters_are_plain_numbers_and_frozen() -> None:
    view = sample(BlockViewsConfig(**ALWAYS), 1)[0]
    assert all(type(side) is int for side in (*view.crop, *view.block))
    assert view.jitter is not None
    assert type(view.jitter.hue) is type(view.blur_sigma) is float
    assert type(view.flip) is type(view.grayscale) is type(view.solarize) is bool
    with pytest.raises(AttributeError):
        view.flip = False  # type: ignore[misc]


def test_no_ninth_view() -> None:
    with pytest.raises(AssertionError, match="no view 8"):
        sample_view(BlockViewsConfig(), 10, 10, seed=0, epoch=0, image=0, view=8)
