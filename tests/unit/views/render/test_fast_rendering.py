"""The fast renderers against Pillow and torchvision on the same parameters: within 2 of 255 on average."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter

from manyview.config import BlockViewsConfig, WholeViewsConfig
from manyview.views import ColorJitter, sample_views
from manyview.views.render import kernel, opencv
from tests.references.torchvision_views import ONE_OPERATION, PLAIN, jitter, photograph, torchvision_view

# Mean absolute difference of 255 that each operation may have on saturated noise, the worst there is: what is not named
# here is exact but for rounding. Pillow rounds each of the six passes of its blur to whole levels.
ALLOWED = {"blur": 1.0}
ROUNDING = 0.03
BUILT = pytest.mark.skipif(not kernel.IS_BUILT, reason="the kernel is not built")
fast: ModuleType = opencv  # the renderer under test


@pytest.fixture(autouse=True, params=[opencv, pytest.param(kernel, marks=BUILT)], ids=["opencv", "kernel"])
def each_renderer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "fast", request.param)


def difference(view: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(view.astype(float) - expected).mean())


def render(image: np.ndarray, parameters: object, size: int) -> np.ndarray:
    return fast.render_views(image, [parameters], size)[0].transpose(1, 2, 0)  # type: ignore[list-item]


@pytest.mark.parametrize("name", ONE_OPERATION)
@pytest.mark.parametrize("size", [24, 53, 64])
def test_each_operation_agrees_with_torchvision(name: str, size: int) -> None:
    parameters = replace(PLAIN, **ONE_OPERATION[name])
    view = render(photograph(), parameters, size)
    allowed = next((limit for word, limit in ALLOWED.items() if word in name), ROUNDING)
    assert difference(view, torchvision_view(photograph(), parameters, size)) <= allowed
    if name not in ("crop and resize", "least blur", "hue by less than a step"):
        assert difference(view, render(photograph(), PLAIN, size)) > 2, "the operation changed nothing"


@pytest.mark.parametrize("size", [16, 64, 130])
def test_sampled_views_agree_with_torchvision(size: int) -> None:
    config = BlockViewsConfig(
        flip=0.5, grayscale=0.3, blur=(0.5, 0.5), solarize=(0.4, 0.4), hue=0.5, brightness=0.9, contrast=0.9
    )
    differences = []
    for index in range(12):
        image = photograph(60 + 9 * index, 130 - 7 * index, seed=index)
        height, width, _ = image.shape
        parameters = sample_views(config, width, height, seed=0, epoch=0, image=index)
        views = fast.render_views(image, parameters, size)
        for view, its_parameters in zip(views, parameters, strict=True):
            expected = torchvision_view(image, its_parameters, size)
            differences.append(difference(view.transpose(1, 2, 0), expected))
    assert np.mean(differences) < 1
    assert np.max(differences) < 4  # a wide jitter of hue and contrast on noise makes the most of each rounding


def test_every_order_of_the_jitter_is_kept() -> None:
    config = WholeViewsConfig(pairs=60, jitter=1.0, grayscale=0.0, blur=(0.0, 0.0))
    parameters = sample_views(config, 90, 70, seed=0, epoch=0, image=0)
    assert len({view.jitter.order for view in parameters if view.jitter}) == 24
    views = fast.render_views(photograph(), parameters, 24)
    for its_parameters, view in zip(parameters, views, strict=True):
        assert difference(view.transpose(1, 2, 0), torchvision_view(photograph(), its_parameters, 24)) < 2.5


def test_the_order_of_the_jitter_matters() -> None:
    """Strong changes that clip give different views in different orders, each of them torchvision's."""
    forward = jitter(brightness=1.9, contrast=0.3)
    backward = replace(forward, order=("contrast", "brightness"))
    views = [render(photograph(), replace(PLAIN, jitter=order), 32) for order in (forward, backward)]
    assert difference(views[0], views[1]) > 10
    for order, view in zip((forward, backward), views, strict=True):
        expected = torchvision_view(photograph(), replace(PLAIN, jitter=order), 32)
        assert difference(view, expected) <= 2 * ROUNDING


@pytest.mark.parametrize("shape", [(1, 1), (1, 20), (20, 1), (400, 20), (3, 5), (12, 12)])
def test_extreme_images(shape: tuple[int, int]) -> None:
    width, height = shape
    image = photograph(width, height)
    parameters = sample_views(BlockViewsConfig(solarize=(0.5, 0.5)), width, height, seed=0, epoch=0, image=0)
    views = fast.render_views(image, parameters, 32)
    differences = [
        difference(view.transpose(1, 2, 0), torchvision_view(image, its_parameters, 32))
        for view, its_parameters in zip(views, parameters, strict=True)
    ]
    assert np.mean(differences) < 2


@pytest.mark.parametrize("crop", [(0, 0, 90, 70), (10, 7, 40, 69), (10, 7, 87, 30), (50, 60, 51, 61), (3, 3, 67, 67)])
@pytest.mark.parametrize("size", [8, 64, 100])
def test_crops_are_resized_as_pillow_does(crop: tuple[int, int, int, int], size: int) -> None:
    """Smaller, larger, and smaller one way and larger the other: within one level everywhere."""
    views = fast.crop_views(photograph(), [replace(PLAIN, crop=crop)], size)
    expected = Image.fromarray(photograph()).crop(crop).resize((size, size), Image.Resampling.BILINEAR)
    assert np.abs(views[0].transpose(1, 2, 0).astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_crop_views_leaves_everything_else_out() -> None:
    altered = replace(PLAIN, flip=True, grayscale=True, blur_sigma=2.0, solarize=True, jitter=jitter(brightness=0.1))
    views = fast.crop_views(photograph(), [PLAIN, altered], 32)
    np.testing.assert_array_equal(views[0], views[1])


@pytest.mark.parametrize("sigma", [0.001, 0.1, 0.3, 0.8, 1.0, 1.41, 1.42, 2.0, 3.7])
def test_blur_is_pillows(sigma: float) -> None:
    image = photograph(64, 64)
    view = render(image, replace(PLAIN, crop=(0, 0, 64, 64), blur_sigma=sigma), 64)
    expected = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))
    # Near its edges Pillow repeats the edge's pixels anew for each of three passes, which is no kernel.
    inside = (slice(12, -12), slice(12, -12))
    assert difference(view[inside], expected[inside]) <= 0.9
    assert np.abs(view[inside].astype(int) - expected[inside].astype(int)).max() <= 3
    assert difference(view, expected) <= 2


def test_nothing_outside_of_the_crop_is_seen() -> None:
    image = photograph()
    left, top, right, bottom = PLAIN.crop
    changed = np.zeros_like(image)
    changed[top:bottom, left:right] = image[top:bottom, left:right]
    blurred = replace(PLAIN, blur_sigma=2.0)
    np.testing.assert_array_equal(render(changed, blurred, 16), render(image, blurred, 16))


def test_solarize_inverts_from_128_on() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    view = render(image, replace(PLAIN, crop=(0, 0, 16, 16), solarize=True), 16)
    assert view[..., 0].ravel().tolist() == [level if level < 128 else 255 - level for level in range(256)]


def test_views_are_fresh_and_the_image_is_left_alone() -> None:
    image = photograph()
    before = image.copy()
    image.flags.writeable = False
    whole = replace(PLAIN, crop=(0, 0, 64, 64))
    views = fast.render_views(image, [whole, replace(whole, flip=True, jitter=jitter(hue=0.1))], 64)
    assert views.shape == (2, 3, 64, 64)
    assert views.dtype == np.uint8
    assert views.flags.writeable
    assert views.flags.c_contiguous
    views[...] = 0
    np.testing.assert_array_equal(image, before)


def test_memory_layout_of_the_image_does_not_matter() -> None:
    image = photograph()
    for crop in (PLAIN.crop, (0, 0, 90, 70)):
        parameters = replace(PLAIN, crop=crop, jitter=jitter(hue=0.1), blur_sigma=1.0)
        expected = render(image, parameters, 24)
        np.testing.assert_array_equal(render(np.asfortranarray(image), parameters, 24), expected)
        np.testing.assert_array_equal(render(image[::-1].copy()[::-1], parameters, 24), expected)


def test_threads_do_not_disturb_each_other() -> None:
    from concurrent.futures import ThreadPoolExecutor

    images = [photograph(90, 70, seed) for seed in range(8)]
    parameters = sample_views(BlockViewsConfig(), 90, 70, seed=0, epoch=0, image=0)
    expected = [fast.render_views(image, parameters, 32) for image in images]
    with ThreadPoolExecutor(4) as threads:
        views = list(threads.map(lambda image: fast.render_views(image, parameters, 32), images * 4))
    for number, view in enumerate(views):
        np.testing.assert_array_equal(view, expected[number % 8])


def test_results_do_not_depend_on_opencvs_threads() -> None:
    image, before = photograph(400, 300), cv2.getNumThreads()
    parameters = sample_views(BlockViewsConfig(), 400, 300, seed=0, epoch=0, image=0)
    views = []
    try:
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            views.append(fast.render_views(image, parameters, 224))
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(views[0], views[1])


def test_crop_outside_of_the_image_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="90 x 70 pixels has no part"):
        render(photograph(), replace(PLAIN, crop=(50, 5, 91, 58)), 16)


def test_unknown_operation_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="sharpness"):
        render(photograph(), replace(PLAIN, jitter=ColorJitter(("sharpness",), 1.0, 1.0, 1.0, 0.0)), 16)
