"""Rendered views, to the bit, against torchvision's operations on Pillow images with the same parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from manyview.config import BlockViewsConfig, WholeViewsConfig
from manyview.views import ColorJitter, sample_views
from manyview.views.render.pillow import render_view, render_views
from tests.references.torchvision_views import ONE_OPERATION, PLAIN, jitter, photograph, torchvision_view


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
def test_extreme_images_equal_torchvision(shape: tuple[int, int]) -> None:
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


def test_image_is_left_alone_and_the_view_is_its_own() -> None:
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


def test_memory_layout_of_the_image_does_not_matter() -> None:
    image = photograph()
    expected = render_view(image, PLAIN, 24)
    np.testing.assert_array_equal(render_view(np.asfortranarray(image), PLAIN, 24), expected)
    np.testing.assert_array_equal(render_view(image[::-1].copy()[::-1], PLAIN, 24), expected)


def test_crop_outside_of_the_image_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="90 x 70 pixels has no part"):
        render_view(photograph(), replace(PLAIN, crop=(50, 5, 91, 58)), 16)
    with pytest.raises(AssertionError, match="has no part"):
        render_view(photograph(), replace(PLAIN, crop=(5, 10, 50, 10)), 16)


def test_unknown_operation_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="sharpness"):
        render_view(photograph(), replace(PLAIN, jitter=ColorJitter(("sharpness",), 1.0, 1.0, 1.0, 0.0)), 16)
