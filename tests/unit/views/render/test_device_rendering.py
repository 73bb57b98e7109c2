"""Views altered in batches against Pillow, operation by operation and composed; 16 bits against the definitions."""

from __future__ import annotations

import colorsys
import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from manyview.config import BlockViewsConfig
from manyview.views import ColorJitter, ViewParameters, sample_views
from manyview.views.render import torch as device_rendering
from manyview.views.render.batch_parameters import COLOR_OPERATIONS, view_table
from manyview.views.render.pillow import render_views
from manyview.views.render.torch import augment_views
from tests.references.torchvision_views import PLAIN as USUAL
from tests.references.torchvision_views import jitter

SIZE = 64
PLAIN = replace(USUAL, block=(0, 0, SIZE, SIZE), crop=(0, 0, SIZE, SIZE))
HARD = BlockViewsConfig(jitter=1.0, hue=0.5, grayscale=0.3, blur=(0.6, 0.6), solarize=(0.4, 0.4), brightness=0.9)


def sample_image(seed: int = 0, size: int = SIZE) -> np.ndarray:
    """Smooth colors, edges and a little noise, some of it beyond black and white."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [np.sin(random.uniform(2, 9) * x + random.uniform(2, 9) * y + 2 * phase) for phase in range(3)]
    colors = 128 + 110 * np.stack(waves, axis=-1) + random.normal(0, 6, (size, size, 3))
    for _ in range(4):
        left, top = random.integers(0, size - 8, 2)
        colors[top : top + size // 4, left : left + size // 3] = random.uniform(-20, 275, 3)
    return np.clip(colors, 0, 255).astype(np.uint8)


def batch(count: int, size: int = SIZE) -> Tensor:
    return torch.from_numpy(np.stack([sample_image(seed, size).transpose(2, 0, 1) for seed in range(count)]))


def reference(views: Tensor, parameters: Sequence[ViewParameters]) -> np.ndarray:
    """Pillow's views of images that are already as large as a view, so that nothing is cropped or resized."""
    size = views.shape[-1]
    whole = [replace(view, crop=(0, 0, size, size)) for view in parameters]
    images = views.numpy().transpose(0, 2, 3, 1)
    return np.concatenate([render_views(image, [view], size) for image, view in zip(images, whole, strict=True)])


def difference(views: Tensor, parameters: Sequence[ViewParameters]) -> np.ndarray:
    """Mean absolute difference to Pillow's, in levels, by view."""
    altered = augment_views(views, view_table(parameters))
    assert altered.dtype == torch.uint8
    return np.abs(altered.numpy().astype(int) - reference(views, parameters)).mean(axis=(1, 2, 3))


def sampled(config: BlockViewsConfig, count: int) -> list[ViewParameters]:
    images = (sample_views(config, 300, 200, seed=3, epoch=0, image=image) for image in range(count // 8))
    return list(itertools.chain.from_iterable(images))


EXACT: dict[str, dict[str, Any]] = {
    "nothing": {},
    "flip": {"flip": True},
    "grayscale": {"grayscale": True},
    "solarize": {"solarize": True},
    "darker": {"jitter": jitter(brightness=0.6)},
    "brighter": {"jitter": jitter(brightness=1.4)},
    "no brightness": {"jitter": jitter(brightness=0.0)},
    "less contrast": {"jitter": jitter(contrast=0.613)},
    "more contrast": {"jitter": jitter(contrast=1.387)},
    "no contrast": {"jitter": jitter(contrast=0.0)},
    "less saturation": {"jitter": jitter(saturation=0.613)},
    "more saturation": {"jitter": jitter(saturation=1.387)},
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("size", [9, 64])
def test_operation_equals_pillows_to_the_bit(name: str, size: int) -> None:
    views = batch(3, size)
    parameters = [replace(PLAIN, **EXACT[name])] * 3
    altered = augment_views(views, view_table(parameters))
    np.testing.assert_array_equal(altered.numpy(), reference(views, parameters))
    assert torch.equal(altered, views) == (name == "nothing")


@pytest.mark.parametrize("shift", [-0.5, -0.1, -0.003, 0.0, 0.0999, 0.31, 0.5])
def test_hue_is_pillows_for_every_color(shift: float) -> None:
    levels = np.arange(0, 256, 3, dtype=np.uint8)  # 636,056 colors, black, white and grays among them
    colors = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(len(levels), -1, 3)
    parameters = [replace(PLAIN, jitter=jitter(hue=shift))]
    altered = augment_views(torch.from_numpy(colors.transpose(2, 0, 1).copy())[None], view_table(parameters))
    hsv = np.array(Image.fromarray(colors).convert("HSV"))
    hsv[..., 0] += np.uint8(int(shift * 255) % 256)
    expected = np.asarray(
        Image.merge("HSV", [Image.fromarray(plane) for plane in np.moveaxis(hsv, 2, 0)]).convert("RGB")
    )
    off = np.abs(altered[0].permute(1, 2, 0).numpy().astype(int) - expected)
    assert (off.max(axis=-1) > 0).mean() < 0.01
    assert off.max() <= 6  # a step of 1/255 turn


@pytest.mark.parametrize("sigma", [0.1, 0.42, 0.73, 1.1, 1.4, 1.43, 2.0, 3.3, 7.0])
def test_blur_is_pillows_but_for_its_roundings(sigma: float) -> None:
    """Pillow extends the edges anew before each of its three boxes: they are looked at apart from the inside."""
    views, parameters = batch(4, 96), [replace(PLAIN, blur_sigma=sigma)] * 4
    expected = reference(views, parameters)
    apart = np.abs(augment_views(views, view_table(parameters)).numpy().astype(int) - expected)
    inside = slice(int(3 * sigma) + 1, -int(3 * sigma) - 1)
    assert apart[..., inside, inside].mean(axis=(1, 2, 3)).max() < 0.75
    assert apart.mean() < 1.1
    assert sigma < 0.5 or np.abs(views.numpy().astype(int) - expected).mean() > 2


def test_each_view_has_its_own_blur() -> None:
    sigmas = [2.0, 0.3, 0.9, 1.6, 1.2, 2.9]
    views = batch(1, 96).expand(len(sigmas), -1, -1, -1)
    assert difference(views, [replace(PLAIN, blur_sigma=sigma) for sigma in sigmas]).max() < 0.7


def test_every_order_of_the_jitter_is_pillows() -> None:
    """Clipping makes each order another view; so strong a jitter clips often."""
    strength = {"brightness": 1.7, "contrast": 1.6, "saturation": 1.8, "hue": 0.07}
    orders = list(itertools.permutations(COLOR_OPERATIONS))
    parameters = [replace(PLAIN, jitter=ColorJitter(order, **strength)) for order in orders]
    views = batch(1).expand(len(orders), -1, -1, -1)
    assert difference(views, parameters).max() < 0.2
    expected = reference(views, parameters).astype(int)
    apart = [np.abs(one - other).mean() for one, other in itertools.combinations(expected, 2)]
    assert np.mean(np.array(apart) > 1) > 0.8, "the orders can be told from each other"


@pytest.mark.parametrize("size", [32, 64])
def test_sampled_views_are_pillows(size: int) -> None:
    for config in (BlockViewsConfig(), HARD):
        parameters = sampled(config, 160)
        apart = difference(batch(160, size), parameters)
        assert apart.mean() < 0.4
        assert apart.max() < 2


def test_how_many_at_a_time_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    views, parameters = batch(48), view_table(sampled(HARD, 48))
    expected = augment_views(views, parameters)
    for values in (1, 5 * views[0].numel(), 2**40):
        monkeypatch.setitem(device_rendering._VALUES_AT_A_TIME, "cpu", values)
        assert torch.equal(augment_views(views, parameters), expected)


def test_a_view_does_not_depend_on_its_neighbours() -> None:
    views, parameters = batch(48), sampled(HARD, 48)
    expected = augment_views(views, view_table(parameters))
    order = np.random.default_rng(0).permutation(48)
    mixed = augment_views(views[order], view_table([parameters[place] for place in order]))
    assert torch.equal(mixed, expected[order])
    assert torch.equal(augment_views(views[7:8], view_table(parameters[7:8])), expected[7:8])


def test_nothing_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device there is nothing to be read back."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # which it does not know
    altered = augment_views(batch(48).to("meta"), view_table(sampled(HARD, 48)))
    assert (altered.device.type, altered.shape, altered.dtype) == ("meta", (48, 3, SIZE, SIZE), torch.uint8)


def test_mixed_precision_does_not_reach_in() -> None:
    views, parameters = batch(16), view_table(sampled(HARD, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = augment_views(views, parameters)
    assert torch.equal(inside, augment_views(views, parameters))


def test_the_views_given_are_left_alone() -> None:
    views = batch(16)
    before = views.clone()
    altered = augment_views(views, view_table(sampled(HARD, 16)))
    assert torch.equal(views, before)
    untouched = augment_views(views, view_table([PLAIN] * 16))
    assert torch.equal(untouched, views)
    assert len({views.data_ptr(), altered.data_ptr(), untouched.data_ptr()}) == 3


def test_memory_layout_does_not_matter() -> None:
    views, parameters = batch(16), view_table(sampled(HARD, 16))
    laid_otherwise = views.to(memory_format=torch.channels_last)
    assert torch.equal(augment_views(laid_otherwise, parameters), augment_views(views, parameters))


def test_no_views_are_no_mistake() -> None:
    assert augment_views(batch(1)[:0], view_table([])).shape == (0, 3, SIZE, SIZE)


def test_a_table_of_another_length_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="2 views, but parameters of 3"):
        augment_views(batch(2), view_table([PLAIN] * 3))


# --- bands and 16 bits


def test_colors_change_on_their_bands_only() -> None:
    parameters = view_table(sampled(HARD, 32))
    colors, others = batch(32), batch(34)[2:, :2]
    views = torch.stack([colors[:, 2], others[:, 0], colors[:, 0], others[:, 1], colors[:, 1]], dim=1)
    altered = augment_views(views, parameters, rgb=(2, 4, 0))
    assert torch.equal(altered[:, (2, 4, 0)], augment_views(colors, parameters))
    assert torch.equal(altered[:, (1, 3)], augment_views(others, parameters, rgb=None))


def test_without_colors_views_are_blurred_and_mirrored_only() -> None:
    parameters = sampled(HARD, 32)
    geometry = [replace(view, jitter=None, grayscale=False, solarize=False) for view in parameters]
    for views in (batch(32), batch(32)[:, :1]):
        altered = augment_views(views, view_table(parameters), rgb=None)
        assert torch.equal(altered, augment_views(views, view_table(geometry), rgb=None))
        assert not torch.equal(altered, views)
    assert torch.equal(
        augment_views(batch(32), view_table(geometry)), augment_views(batch(32), view_table(geometry), None)
    )


def sixteen_bits(count: int) -> np.ndarray:
    """Values from 0 to 65535 that 8 bits do not hold, as float64 (count, 3, size, size)."""
    fine = np.random.default_rng(5).integers(-128, 128, (count, 3, SIZE, SIZE))
    return np.clip(batch(count).numpy().astype(np.float64) * 257 + fine, 0, 65535)


def gray(view: np.ndarray) -> np.ndarray:
    return 0.299 * view[0] + 0.587 * view[1] + 0.114 * view[2]


def turned(view: np.ndarray, turns: float) -> np.ndarray:
    pixels = (view / 65535).reshape(3, -1).T
    hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in pixels]
    rgb = [colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value) for hue, saturation, value in hsv]
    return np.array(rgb).T.reshape(view.shape) * 65535


DEFINITIONS: dict[str, tuple[dict[str, Any], Any]] = {
    "flip": ({"flip": True}, lambda view: view[:, :, ::-1]),
    "solarize": ({"solarize": True}, lambda view: np.where(view >= 32768, 65535 - view, view)),
    "grayscale": ({"grayscale": True}, lambda view: np.stack([gray(view)] * 3)),
    "brightness": ({"jitter": jitter(brightness=1.31)}, lambda view: np.clip(1.31 * view, 0, 65535)),
    "contrast": (
        {"jitter": jitter(contrast=1.31)},
        lambda view: np.clip(1.31 * view - 0.31 * gray(view).mean(), 0, 65535),
    ),
    "saturation": (
        {"jitter": jitter(saturation=0.71)},
        lambda view: np.clip(0.71 * view + 0.29 * gray(view), 0, 65535),
    ),
    "hue": ({"jitter": jitter(hue=0.083)}, lambda view: turned(view, 0.083)),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_sixteen_bits_follow_the_definitions(name: str) -> None:
    change, definition = DEFINITIONS[name]
    values = sixteen_bits(2)
    views = torch.from_numpy(values.astype(np.uint16))
    altered = augment_views(views, view_table([replace(PLAIN, **change)] * 2))
    assert altered.dtype == torch.uint16
    expected = np.stack([definition(view) for view in values])
    assert np.abs(altered.numpy().astype(np.float64) - expected).max() < 15, "in levels of 65535"
    assert np.abs(values - expected).mean() > 500


def test_sixteen_bits_are_blurred_as_eight_are() -> None:
    views, parameters = batch(8), view_table([replace(PLAIN, blur_sigma=0.3 + 0.4 * index) for index in range(8)])
    fine = augment_views((views.int() * 257).to(torch.uint16), parameters).numpy() / 257
    assert np.abs(fine - augment_views(views, parameters).numpy()).max() < 0.51, "what 8 bits are rounded by"
