"""The callable: what it takes, what it gives, and where its randomness comes from."""

from __future__ import annotations

import doctest
import inspect
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

import manyview.views.transform
from manyview.config import BlockViewsConfig
from manyview.errors import UserError
from manyview.views import BlockViews, render_views, sample_views

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (40, 56, 3), dtype=np.uint8)
BANDS = RANDOM.integers(0, 65536, (40, 56, 5)).astype(np.uint16)


def test_eight_normalized_views_by_default() -> None:
    views = BlockViews()(IMAGE)
    assert isinstance(views, torch.Tensor)
    assert views.shape == (8, 3, 224, 224)
    assert views.dtype == torch.float32
    assert BlockViews(view_size=32, output="uint8")(IMAGE).dtype == torch.uint8


@pytest.mark.parametrize("given", [{}, {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.25, 2.0)}, {"mean": (0.5, 0.5, 0.5)}])
def test_normalization_by_its_definition(given: dict[str, Any]) -> None:
    raw = BlockViews(view_size=24, seed=1, output="uint8", **given).at(IMAGE, 3).numpy().astype(np.float64)
    imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    mean, std = (np.array((imagenet | given)[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    views = BlockViews(view_size=24, seed=1, **given).at(IMAGE, 3).numpy()
    np.testing.assert_allclose(views, (raw / 255 - mean) / std, rtol=1e-6, atol=1e-6)


def test_at_gives_the_views_of_a_run() -> None:
    config = BlockViewsConfig(size=24, overlap=0.3, scale=(0.4, 0.9), solarize=(0.5, 0.2))
    views = BlockViews(24, 0.3, output="uint8", seed=9, scale=(0.4, 0.9), solarize=(0.5, 0.2))
    assert views.config == config
    parameters = sample_views(config, 56, 40, seed=9, epoch=4, image=17)
    np.testing.assert_array_equal(views.at(IMAGE, 17, epoch=4).numpy(), render_views(IMAGE, parameters, 24))


@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (3, 4)])
def test_two_views_of_every_block_of_a_grid(grid: tuple[int, int]) -> None:
    views = BlockViews(16, grid=grid, output="uint8", seed=9)
    parameters = sample_views(BlockViewsConfig(size=16, grid=grid), 56, 40, seed=9, epoch=0, image=2)
    assert len(parameters) == 2 * grid[0] * grid[1]
    np.testing.assert_array_equal(views.at(IMAGE, 2).numpy(), render_views(IMAGE, parameters, 16))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (400, 20), (20, 400), (3000, 1)])
@pytest.mark.parametrize("grid", [(2, 2), (5, 7)])
def test_images_of_odd_sizes(size: tuple[int, int], grid: tuple[int, int]) -> None:
    width, height = size
    image = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
    views = BlockViews(16, grid=grid)(image)
    assert views.shape == (2 * grid[0] * grid[1], 3, 16, 16)
    assert views.isfinite().all()


def test_a_list_of_views_for_those_who_collate_lists() -> None:
    stacked, listed = (BlockViews(16, seed=3, stacked=value) for value in (True, False))
    images = [IMAGE, IMAGE[::-1].copy(), IMAGE[:, ::-1].copy()]
    lists = [listed.at(image, index) for index, image in enumerate(images)]
    assert all(type(views) is list and len(views) == 8 for views in lists)
    batch = default_collate(lists)
    assert [views.shape for views in batch] == [(3, 3, 16, 16)] * 8
    expected = torch.stack([stacked.at(image, index) for index, image in enumerate(images)])
    assert torch.equal(torch.stack(batch, dim=1), expected)
    assert type(listed(IMAGE)) is list


def test_bands_of_sixteen_bits() -> None:
    options: dict[str, Any] = {"view_size": 16, "bands": 5, "seed": 2, "blur_sigma": (0.5, 1.5)}
    mean, std = (0.1, 0.2, 0.3, 0.4, 0.5), (0.5, 0.4, 0.3, 0.2, 0.1)
    raw = BlockViews(**options, output="uint8").at(BANDS, 0)
    assert raw.dtype == torch.uint16
    config = BlockViewsConfig(size=16, blur_sigma=(0.5, 1.5))
    parameters = sample_views(config, 56, 40, seed=2, epoch=0, image=0)
    np.testing.assert_array_equal(raw.numpy(), render_views(BANDS, parameters, 16, rgb=None))
    normalized = BlockViews(**options, mean=mean, std=std).at(BANDS, 0)
    assert normalized.dtype == torch.float32
    expected = (raw.numpy() / 65535 - np.reshape(mean, (5, 1, 1))) / np.reshape(std, (5, 1, 1))
    np.testing.assert_allclose(normalized.numpy(), expected, rtol=1e-6, atol=1e-6)
    tensor = torch.from_numpy(BANDS).movedim(-1, 0)
    for same in (tensor, tensor.contiguous(), BANDS.astype(">u2")):
        assert torch.equal(BlockViews(**options, output="uint8").at(same, 0), raw)


def test_colors_change_in_the_bands_that_are_rgb_only() -> None:
    options: dict[str, Any] = {"view_size": 16, "bands": 5, "seed": 2, "output": "uint8"}
    eight_bits = (BANDS // 257).astype(np.uint8)
    plain = BlockViews(**options).at(eight_bits, 0)
    colored = BlockViews(**options, rgb_bands=(3, 0, 1), jitter=1, grayscale=1).at(eight_bits, 0)
    assert plain.dtype == colored.dtype == torch.uint8
    assert torch.equal(plain[:, [2, 4]], colored[:, [2, 4]])
    assert all(not torch.equal(plain[:, band], colored[:, band]) for band in (0, 1, 3))
    assert torch.equal(colored[:, 0], colored[:, 1])
    assert torch.equal(colored[:, 0], colored[:, 3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blurr": 0.5}, "BlockViews has no option 'blurr'; did you mean blur"),
        ({"kind": "whole"}, "no option 'kind'"),
        ({"stackd": False}, "did you mean stacked"),
        ({"view_size": 0}, "view_size must be greater than or equal to 8, not 0"),
        ({"overlap": 0.7}, "overlap must be less than or equal to 0.5, not 0.7"),
        ({"grid": (0, 2)}, "grid must be greater than or equal to 1, not 0"),
        ({"grid": (2, 2.5)}, "grid must be a valid integer, not 2.5"),
        ({"grid": 4}, "grid must be a valid tuple, not 4"),
        ({"scale": (0.5, 0.2)}, "scale must be two ascending numbers"),
        ({"flip": 2, "hue": 0.9}, "2 mistakes .*flip must be .*hue must be"),
        ({"output": "float"}, "output is 'float': choose 'normalized' or 'uint8'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"mean": (0.5,)}, "mean must have 3 numbers, one a band, not 1"),
        ({"bands": 4, "mean": (0.5,) * 4, "std": (0.5,) * 3}, "std must have 4 numbers, one a band, not 3"),
        ({"bands": 4}, "bands=4 needs mean and std, 4 numbers each, or output='uint8'"),
        ({"bands": 4, "mean": (0.5,) * 4}, "bands=4 needs mean and std"),
        ({"bands": 0, "output": "uint8"}, "bands is 0: give a whole number from 1"),
        ({"rgb_bands": (0, 1, 2)}, "rgb_bands has no effect without bands"),
        ({"bands": 4, "rgb_bands": (0, 1, 4), "output": "uint8"}, "name three different bands from 0 to 3"),
        ({"bands": 4, "rgb_bands": (0, 1, 1), "output": "uint8"}, "name three different bands from 0 to 3"),
        ({"bands": 4, "hue": 0.2, "output": "uint8"}, "hue has no effect because no band has a color without rgb_ban"),
        ({"jitter": 0, "hue": 0.2}, "hue has no effect because jitter is 0"),
        ({"grid": (1, 1), "overlap": 0.3}, "overlap has no effect because grid is a single block, the whole image"),
        ({"blur": (0, 0), "blur_sigma": (0.1, 1)}, "blur_sigma has no effect because blur is 0"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], message: str) -> None:
    # Executed annotations would refuse some of these first; users run without them.
    make = inspect.unwrap(BlockViews.__init__)
    with pytest.raises(UserError, match=message):
        make(object.__new__(BlockViews), **options)


def test_at_needs_a_seed() -> None:
    with pytest.raises(UserError, match="needs the run's seed"):
        BlockViews(view_size=16).at(IMAGE, 0)


def test_without_a_seed_pytorch_decides() -> None:
    views = BlockViews(view_size=16)
    torch.manual_seed(3)
    first, second = views(IMAGE), views(IMAGE)
    torch.manual_seed(3)
    assert torch.equal(views(IMAGE), first)
    assert torch.equal(views(IMAGE), second)
    assert not torch.equal(first, second)


def test_with_a_seed_the_sequence_depends_on_it_alone() -> None:
    torch.manual_seed(0)
    views = BlockViews(view_size=16, seed=3)
    first, second = views(IMAGE), views(IMAGE)
    torch.manual_seed(1)
    again = BlockViews(view_size=16, seed=3)
    assert torch.equal(again(IMAGE), first)
    assert torch.equal(again(IMAGE), second)
    assert not torch.equal(first, second)
    assert not torch.equal(BlockViews(view_size=16, seed=4)(IMAGE), first)


def test_a_pickled_copy_goes_on_alike() -> None:
    views = BlockViews(view_size=16, grid=(1, 2), seed=3, stacked=False, blur=(0.5, 0.1))
    views(IMAGE)
    again = pickle.loads(pickle.dumps(views))
    assert repr(again) == repr(views)
    assert all(torch.equal(ours, copied) for ours, copied in zip(views(IMAGE), again(IMAGE), strict=True))


class SameImage(Dataset[torch.Tensor]):
    def __init__(self, views: BlockViews) -> None:
        self.views = views

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.views(IMAGE)


def seen_in_workers(
    views: BlockViews, context: str, epochs: int, persistent: bool = False, workers: int = 2
) -> list[bytes]:
    torch.manual_seed(0)
    loader = DataLoader(
        SameImage(views),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=context,
        persistent_workers=persistent,
    )
    return [batch.numpy().tobytes() for _ in range(epochs) for batch in loader]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of a single core
@pytest.mark.parametrize("seed", [None, 0])
def test_workers_and_epochs_draw_their_own_views(seed: int | None) -> None:
    large = RANDOM.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    BlockViews()(large)  # so that a pool of threads that does not survive a fork would have been made
    views = BlockViews(view_size=16, seed=seed)
    seen = seen_in_workers(views, "fork", epochs=2)
    assert len(set(seen)) == 8
    assert seen_in_workers(views, "fork", epochs=2) == seen
    assert len(set(seen_in_workers(views, "fork", epochs=2, persistent=True))) == 8


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_spawned_workers_draw_what_forked_ones_do() -> None:
    views = BlockViews(view_size=16)
    spawned, forked = (seen_in_workers(views, context, epochs=1, workers=1) for context in ("spawn", "fork"))
    assert spawned == forked


def test_repr_names_what_was_set() -> None:
    assert repr(BlockViews(view_size=64, seed=1, blur=(0.5, 0.1))) == (
        "BlockViews(view_size=64, overlap=0.2, grid=(2, 2), output='normalized', seed=1, blur=(0.5, 0.1))"
    )
    several = BlockViews(grid=(1, 2), output="uint8", stacked=False, bands=4, rgb_bands=(2, 1, 0))
    assert repr(several) == (
        "BlockViews(view_size=224, overlap=0.2, grid=(1, 2), output='uint8', stacked=False, bands=4, "
        "rgb_bands=(2, 1, 0))"
    )


def test_example_of_the_docstring() -> None:
    results = doctest.testmod(manyview.views.transform)
    assert results.attempted > 0
    assert results.failed == 0
