"""Views of any number of bands against Pillow, and against the definitions in float64."""

from __future__ import annotations

import colorsys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from manyview.config import BlockViewsConfig, WholeViewsConfig
from manyview.views import ViewParameters, sample_views
from manyview.views import render as rendering
from manyview.views.render import bands, pillow
from manyview.views.render.bands import crop_views, render_views
from tests.references.torchvision_views import ONE_OPERATION, PLAIN, jitter

RGB = (0, 1, 2)


def sample_image(width: int = 90, height: int = 70, bands: int = 3, seed: int = 0) -> np.ndarray:
    """Shares of white: smooth colors with noise and saturated patches."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    waves = [np.sin(random.uniform(2, 20) * x + random.uniform(2, 20) * y + phase) for phase in range(bands)]
    return np.clip(0.5 + 0.47 * np.stack(waves, axis=-1) + random.normal(0, 0.1, (height, width, bands)), 0, 1)


def shallow(**shape: int) -> np.ndarray:
    return (sample_image(**shape) * 255).astype(np.uint8)


def deep(**shape: int) -> np.ndarray:
    return (sample_image(**shape) * 65535).astype(np.uint16)


OPERATIONS: dict[str, dict[str, Any]] = {
    **ONE_OPERATION,
    "everything": {
        "flip": True,
        "jitter": jitter(hue=0.07, contrast=1.3, brightness=0.8, saturation=1.35),
        "blur_sigma": 1.1,
        "solarize": True,
    },
}
COLORS = [name for name, changes in OPERATIONS.items() if changes.keys() & {"jitter", "grayscale", "solarize"}]


# The definitions, in float64 on shares of white, from 0 to 1.


def triangle(crop: int, size: int) -> np.ndarray:
    """Weights (size, crop) of Pillow's bilinear resize: a triangle as wide as a pixel of the view, or of the crop."""
    scale = crop / size
    width = max(scale, 1.0)
    centers = (np.arange(size) + 0.5) * scale
    weights = np.maximum(1 - np.abs((np.arange(crop) + 0.5)[None] - centers[:, None]) / width, 0)
    return weights / weights.sum(axis=1, keepdims=True)


def blurring(length: int, sigma: float) -> np.ndarray:
    """Matrix of the blur along one side; the edge's pixels go on beyond it.

    Pillow's Gaussian is a box with soft ends, of variance sigma^2 / 3, thrice.
    """
    variance = sigma**2 / 3
    radius = int((np.sqrt(12 * variance + 1) - 1) / 2)
    end = (2 * radius + 1) * (variance - radius * (radius + 1) / 3) / (2 * ((radius + 1) ** 2 - variance))
    box = np.array([end, *[1] * (2 * radius + 1), end]) / (2 * radius + 1 + 2 * end)
    kernel = np.convolve(np.convolve(box, box), box)
    matrix = np.zeros((length, length))
    for row in range(length):
        for step, weight in enumerate(kernel, -(len(kernel) // 2)):
            matrix[row, min(max(row + step, 0), length - 1)] += weight
    return matrix


def gray(view: np.ndarray) -> np.ndarray:
    return (view @ np.array([0.299, 0.587, 0.114]))[..., None]


def turned(view: np.ndarray, shift: float) -> np.ndarray:
    result = np.empty_like(view)
    for place in np.ndindex(view.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*view[place])
        result[place] = colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)
    return result


def defined(image: np.ndarray, parameters: ViewParameters, size: int, rgb: tuple[int, int, int] | None) -> np.ndarray:
    """A view (bands, size, size) as shares of white."""
    left, top, right, bottom = parameters.crop
    crop = image[top:bottom, left:right].astype(np.float64) / np.iinfo(image.dtype).max
    view = np.einsum("yi,xj,ijc->yxc", triangle(bottom - top, size), triangle(right - left, size), crop)
    colors = view[..., list(rgb or ())]
    if rgb is not None and parameters.jitter is not None:
        for name in parameters.jitter.order:
            factor = getattr(parameters.jitter, name)
            bases = {"brightness": 0.0, "contrast": gray(colors).mean(), "saturation": gray(colors)}
            if name == "hue":
                colors = turned(colors, factor)
            else:
                colors = np.clip(bases[name] + factor * (colors - bases[name]), 0, 1)
    if rgb is not None:
        view[..., list(rgb)] = gray(colors) if parameters.grayscale else colors
    if parameters.blur_sigma is not None:
        blur = blurring(size, parameters.blur_sigma)
        view = np.einsum("yi,xj,ijc->yxc", blur, blur, view)
    if rgb is not None and parameters.solarize:
        colors = view[..., list(rgb)]
        view[..., list(rgb)] = np.where(colors < 0.5, colors, 1 - colors)
    return (view[:, ::-1] if parameters.flip else view).transpose(2, 0, 1)


def distance(view: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference, in levels of 255."""
    shares = [array / np.iinfo(array.dtype).max if array.dtype.kind == "u" else array for array in (view, other)]
    return float(np.abs(shares[0] - shares[1]).mean() * 255)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("size", [24, 64])
def test_each_operation_agrees_with_pillow(name: str, size: int) -> None:
    parameters = replace(PLAIN, **OPERATIONS[name])
    expected = pillow.render_views(shallow(), [parameters], size)

    view = render_views(shallow(), [parameters], size, RGB)
    same_in_16_bits = render_views(shallow() * np.uint16(257), [parameters], size, RGB)

    assert (view.dtype, same_in_16_bits.dtype) == (np.uint8, np.uint16)
    assert distance(view, expected) < 1
    # Pillow cuts the fraction off after every operation, and 16 bits have none worth the name.
    assert distance(same_in_16_bits, expected) < (2.5 if name == "everything" else 2)
    if name not in ("crop and resize", "least blur", "hue by less than a step"):
        assert distance(view, render_views(shallow(), [PLAIN], size, RGB)) > 2, "the operation changed nothing"


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_on_16_bits_is_as_defined(name: str) -> None:
    parameters = replace(PLAIN, **OPERATIONS[name])

    (view,) = render_views(deep(), [parameters], 24, RGB)

    expected = defined(deep(), parameters, 24, RGB)
    assert np.abs(view / 65535 - expected).max() < 0.001
    assert distance(view, expected) < 0.02


def test_sampled_views_agree_with_pillow_and_with_the_definition() -> None:
    config = BlockViewsConfig(grayscale=0.3, solarize=(0.4, 0.4), hue=0.5, brightness=0.9, contrast=0.9)
    for index in range(6):
        size = {"width": 60 + 9 * index, "height": 130 - 7 * index, "seed": index}
        parameters = sample_views(config, size["width"], size["height"], seed=0, epoch=0, image=index)
        expected = pillow.render_views(shallow(**size), parameters, 20)
        views = render_views(shallow(**size), parameters, 20, RGB)
        exact = render_views(deep(**size), parameters, 20, RGB)
        for place, its_parameters in enumerate(parameters):
            assert distance(views[place], expected[place]) < 2
            assert distance(exact[place], defined(deep(**size), its_parameters, 20, RGB)) < 0.02


def test_every_order_of_the_jitter_is_as_defined() -> None:
    parameters = sample_views(WholeViewsConfig(pairs=60, jitter=1.0), 90, 70, seed=0, epoch=0, image=0)
    assert len({view.jitter.order for view in parameters if view.jitter}) == 24
    for its_parameters, view in zip(parameters, render_views(deep(), parameters, 8, RGB), strict=True):
        assert distance(view, defined(deep(), its_parameters, 8, RGB)) < 0.02


@pytest.mark.parametrize("make", [shallow, deep])
@pytest.mark.parametrize("name", COLORS)
def test_colors_change_only_where_they_are(name: str, make: Any) -> None:
    image, rgb = make(bands=6), (4, 0, 2)
    parameters = replace(PLAIN, **OPERATIONS[name])

    (view,) = render_views(image, [parameters], 24, rgb)

    (of_rgb,) = render_views(image[..., list(rgb)], [parameters], 24, RGB)
    (of_others,) = render_views(image[..., [1, 3, 5]], [parameters], 24, None)
    np.testing.assert_array_equal(view[list(rgb)], of_rgb)
    np.testing.assert_array_equal(view[[1, 3, 5]], of_others)


@pytest.mark.parametrize("make", [shallow, deep])
def test_without_colors_bands_are_cropped_blurred_and_mirrored(make: Any) -> None:
    image = make(bands=5)
    plain = replace(PLAIN, flip=True, blur_sigma=1.3)
    colorful = replace(plain, jitter=jitter(brightness=0.5, hue=0.2), grayscale=True, solarize=True)

    views = render_views(image, [plain, colorful], 24, None)

    np.testing.assert_array_equal(views[0], views[1])
    assert distance(views[0], defined(image, plain, 24, None)) < (1 if make is shallow else 0.02)
    for band in range(5):
        alone = render_views(image[..., [band]], [plain], 24, None)[0, 0]
        np.testing.assert_allclose(views[0, band].astype(float), alone, atol=1)  # sums in another order


@pytest.mark.parametrize("size", [8, 53, 90])
def test_crops_are_resized_as_by_pillow(size: int) -> None:
    left, top, right, bottom = PLAIN.crop
    for image, mode, most in ((shallow(bands=4), "L", 1), (deep(bands=4), "F", 0.6)):
        (view,) = crop_views(image, [replace(PLAIN, flip=True, blur_sigma=2.0)], size)
        for band in range(4):
            plane = image[top:bottom, left:right, band]
            part = Image.fromarray(plane if mode == "L" else plane.astype(np.float32))
            expected = np.asarray(part.resize((size, size), Image.Resampling.BILINEAR)).astype(float)
            assert np.abs(view[band] - expected).max() <= most


@pytest.mark.parametrize("shape", [(1, 1), (1, 20), (20, 1), (400, 20), (3, 5)])
def test_extreme_images(shape: tuple[int, int]) -> None:
    width, height = shape
    image = deep(width=width, height=height, bands=4)
    parameters = sample_views(BlockViewsConfig(solarize=(0.5, 0.5)), width, height, seed=0, epoch=0, image=0)
    for view, its_parameters in zip(render_views(image, parameters, 16, (3, 2, 1)), parameters, strict=True):
        assert distance(view, defined(image, its_parameters, 16, (3, 2, 1))) < 0.02


def test_full_range_is_kept() -> None:
    for dtype in (np.uint8, np.uint16):
        top = np.iinfo(dtype).max
        image = np.zeros((40, 40, 2), dtype)
        image[..., 1] = top
        parameters = replace(PLAIN, crop=(1, 2, 38, 36), blur_sigma=1.7)
        (view,) = render_views(image, [parameters], 24, None)
        assert view[0].max() == 0
        assert view[1].min() == top


def test_image_is_left_alone_and_the_views_are_their_own() -> None:
    image = deep(bands=4)
    image.flags.writeable = False
    for parameters in (PLAIN, replace(PLAIN, crop=(0, 0, 64, 64))):
        views = render_views(image, [parameters, parameters], 64, (0, 1, 2))
        assert views.shape == (2, 4, 64, 64)
        assert views.flags.writeable
        assert views.flags.c_contiguous
        assert not np.shares_memory(views, image)


def test_memory_layout_of_the_image_does_not_matter() -> None:
    image = deep(bands=4)
    expected = render_views(image, [PLAIN], 24, RGB)
    for other in (
        np.asfortranarray(image),
        image[::-1].copy()[::-1],
        image.transpose(2, 0, 1).copy().transpose(1, 2, 0),
    ):
        np.testing.assert_array_equal(render_views(other, [PLAIN], 24, RGB), expected)


def test_crop_outside_of_the_image_is_our_mistake() -> None:
    for crop in ((50, 5, 91, 58), (5, 10, 50, 10)):
        with pytest.raises(AssertionError, match="90 x 70 pixels has no part"):
            render_views(deep(), [replace(PLAIN, crop=crop)], 16, RGB)


def test_the_renderer_is_chosen_by_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    render = bands.render_views
    monkeypatch.setattr(bands, "render_views", lambda *given: chosen.append(1) or render(*given))
    parameters = [replace(PLAIN, grayscale=True)]

    rendering.render_views(shallow(), parameters, 16)
    assert not chosen
    for image, rgb in ((deep(), RGB), (shallow(bands=4), RGB), (shallow(), None), (shallow(), (2, 1, 0))):
        expected = render(image, parameters, 16, rgb)
        np.testing.assert_array_equal(rendering.render_views(image, parameters, 16, rgb=rgb), expected)
        view = rendering.render_view(image, parameters[0], 16, rgb=rgb)
        np.testing.assert_array_equal(view, expected[0].transpose(1, 2, 0))
    assert len(chosen) == 8
