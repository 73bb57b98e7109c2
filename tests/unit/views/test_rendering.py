"""Rendered views, to the bit, against torchvision's operations on Pillow images with the same parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from manyview.config import BlockViewsConfig, WholeViewsConfig
from manyview.views import ColorJitter, ViewParameters, render_view, render_views, sample_views

PLAIN = ViewParameters(
    block=(0, 0, 90, 70),
    crop=(12, 5, 71, 58),
    flip=False,
    jitter=None,
    grayscale=False,
    blur_sigma=None,
    solarize=False,
)


def photograph(width: int = 90, height: int = 70, seed: int = 0) -> np.ndarray:
    """Smooth colours with noise and saturated patches, so that every operation has something to change and to clip."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    waves = [np.sin(random.uniform(2, 20) * x + random.uniform(2, 20) * y + phase) for phase in range(3)]
    colours = 128 + 120 * np.stack(waves, axis=-1) + random.normal(0, 25, (height, width, 3))
    return np.clip(colours, 0, 255).astype(np.uint8)


def torchvision_view(image: np.ndarray, parameters: ViewParameters, size: int) -> np.ndarray:
    """The same parameters applied by torchvision, in the order of SimSiam's and BYOL's transforms."""
    left, top, right, bottom = parameters.crop
    view = F.resized_crop(
        Image.fromarray(image), top, left, bottom - top, right - left, [size, size], InterpolationMode.BILINEAR
    )
    if parameters.jitter is not None:
        operations = {
            "brightness": F.adjust_brightness,
            "contrast": F.adjust_contrast,
            "saturation": F.adjust_saturation,
            "hue": F.adjust_hue,
        }
        for name in parameters.jitter.order:
            view = operations[name](view, getattr(parameters.jitter, name))
    if parameters.grayscale:
        view = F.to_grayscale(view, num_output_channels=3)
    if parameters.blur_sigma is not None:
        view = view.filter(ImageFilter.GaussianBlur(radius=parameters.blur_sigma))
    if parameters.solarize:
        view = F.solarize(view, 128)
    if parameters.flip:
        view = F.hflip(view)
    return np.asarray(view)


def jitter(**changes: float) -> ColorJitter:
    """A jitter with one operation for each given value, in the given order."""
    values = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0} | changes
    return ColorJitter(order=tuple(changes), **values)


ONE_OPERATION: dict[str, dict[str, Any]] = {
    "crop and resize": {},
    "flip": {"flip": True},
    "grayscale": {"grayscale": True},
    "least blur": {"blur_sigma": 0.1},
    "some blur": {"blur_sigma": 0.73},
    "most blur": {"blur_sigma": 2.0},
    "solarize": {"solarize": True},
    "darker": {"jitter": jitter(brightness=0.6)},
    "brighter": {"jitter": jitter(brightness=1.4)},
    "no brightness": {"jitter": jitter(brightness=0.0)},
    "less contrast": {"jitter": jitter(contrast=0.61)},
    "more contrast": {"jitter": jitter(contrast=1.39)},
    "less saturation": {"jitter": jitter(saturation=0.6)},
    "more saturation": {"jitter": jitter(saturation=1.4)},
    "hue left": {"jitter": jitter(hue=-0.1)},
    "hue right": {"jitter": jitter(hue=0.0999)},
    "hue by half a turn": {"jitter": jitter(hue=0.5)},
    "hue by minus half a turn": {"jitter": jitter(hue=-0.5)},
    "hue by less than a step": {"jitter": jitter(hue=-0.003)},
}


@pytest.mark.parametrize("name", ONE_OPERATION)
@pytest.mark.parametrize("size", [8, 53, 64])
def test_each_operation_equals_torchvision(name: str, size: int) -> None:
    parameters = replace(PLAIN, **ONE_OPERATION[name])
    view = render_view(photograph(), parameters, size)
    np.testing.assert_array_equal(view, torchvision_view(photograph(), parameters, size))
    if name not in ("crop and resize", "least blur"):  # a radius of 0.1 reaches no neighbour in 8-bit values
        assert not np.array_equal(view, render_view(photograph(), PLAIN, size)), "the operation changed nothing"


@pytest.mark.parametrize("size", [16, 64, 130])
def test_sampled_views_equal_torchvision(size: int) -> None:
    config = BlockViewsConfig(
        flip=0.5, grayscale=0.3, blur=(0.5, 0.5), solarize=(0.4, 0.4), hue=0.5, brightness=0.9, contrast=0.9
    )
    for index in range(12):
        image = photograph(60 + 9 * index, 130 - 7 * index, seed=index)
        height, width, _ = image.shape
        parameters = sample_views(config, width, height, seed=0, epoch=0, image=index)
        views = render_views(image, parameters, size)
        for view, its_parameters in zip(views, parameters, strict=True):
            expected = torchvision_view(image, its_parameters, size)
            np.testing.assert_array_equal(view, expected.transpose(2, 0, 1))
            np.testing.assert_array_equal(render_view(image, its_parameters, size), expected)


def test_every_order_of_the_jitter_equals_torchvision() -> None:
    config = WholeViewsConfig(pairs=60, jitter=1.0)
    parameters = sample_views(config, 90, 70, seed=0, epoch=0, image=0)
    assert len({view.jitter.order for view in parameters if view.jitter}) == 24
    for its_parameters, view in zip(parameters, render_views(photograph(), parameters, 24), strict=True):
        expected = torchvision_view(photograph(), its_parameters, 24)
        np.testing.assert_array_equal(view, expected.transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 20), (20, 1), (400, 20), (3, 5), (12, 12)])
def test_extreme_photographs_equal_torchvision(shape: tuple[int, int]) -> None:
    width, height = shape
    image = photograph(width, height)
    parameters = sample_views(BlockViewsConfig(solarize=(0.5, 0.5)), width, height, seed=0, epoch=0, image=0)
    for view, its_parameters in zip(render_views(image, parameters, 32), parameters, strict=True):
        np.testing.assert_array_equal(view, torchvision_view(image, its_parameters, 32).transpose(2, 0, 1))


def test_nothing_outside_of_the_crop_is_seen() -> None:
    image = photograph()
    left, top, right, bottom = PLAIN.crop
    view = render_view(image, PLAIN, 16)
    changed = np.zeros_like(image)
    changed[top:bottom, left:right] = image[top:bottom, left:right]
    np.testing.assert_array_equal(render_view(changed, PLAIN, 16), view)


def test_a_crop_of_the_views_size_is_copied() -> None:
    image = photograph()
    view = render_view(image, replace(PLAIN, crop=(10, 20, 42, 52)), 32)
    np.testing.assert_array_equal(view, image[20:52, 10:42])


def test_solarize_inverts_from_128_on() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    view = render_view(image, replace(PLAIN, crop=(0, 0, 16, 16), solarize=True), 16)
    expected = [level if level < 128 else 255 - level for level in range(256)]
    assert view[..., 0].ravel().tolist() == expected


def test_a_jitter_without_operations_changes_nothing() -> None:
    np.testing.assert_array_equal(
        render_view(photograph(), replace(PLAIN, jitter=jitter()), 20), render_view(photograph(), PLAIN, 20)
    )


def test_photograph_is_left_alone_and_the_view_is_its_own() -> None:
    image = photograph()
    image.flags.writeable = False
    for parameters in (PLAIN, replace(PLAIN, grayscale=True, flip=True), replace(PLAIN, crop=(0, 0, 64, 64))):
        view = render_view(image, parameters, 64)
        assert view.flags.writeable
        assert view.flags.c_contiguous
        assert not np.shares_memory(view, image)
    views = render_views(image, [PLAIN, PLAIN], 64)
    assert views.shape == (2, 3, 64, 64)
    assert views.flags.writeable
    assert views.flags.c_contiguous


def test_memory_layout_of_the_photograph_does_not_matter() -> None:
    image = photograph()
    expected = render_view(image, PLAIN, 24)
    np.testing.assert_array_equal(render_view(np.asfortranarray(image), PLAIN, 24), expected)
    np.testing.assert_array_equal(render_view(image[::-1].copy()[::-1], PLAIN, 24), expected)


def test_crop_outside_of_the_photograph_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="90 x 70 pixels has no part"):
        render_view(photograph(), replace(PLAIN, crop=(50, 5, 91, 58)), 16)
    with pytest.raises(AssertionError, match="has no part"):
        render_view(photograph(), replace(PLAIN, crop=(5, 10, 50, 10)), 16)


def test_unknown_operation_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="sharpness"):
        render_view(photograph(), replace(PLAIN, jitter=ColorJitter(("sharpness",), 1.0, 1.0, 1.0, 0.0)), 16)
