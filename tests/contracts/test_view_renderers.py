"""What every renderer of views promises: the same parameters give the views of the reference, within rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch

from manyview.config import BlockViewsConfig
from manyview.scenes import render_scene
from manyview.views import ViewParameters, sample_views
from manyview.views.render import Renderer, crop_views, opencv, render_views
from manyview.views.render.batch_parameters import view_table
from manyview.views.render.torch import augment_views

SIZE = 48
LIMIT = 2.0  # of 255, the mean difference from the reference over a view
Render = Callable[[np.ndarray, tuple[ViewParameters, ...]], np.ndarray]


def on_device(image: np.ndarray, parameters: tuple[ViewParameters, ...]) -> np.ndarray:
    crops = torch.from_numpy(crop_views(image, parameters, SIZE))
    return augment_views(crops, view_table(parameters)).numpy()


def on_the_cpu(renderer: Renderer) -> Render:
    return lambda image, parameters: render_views(image, parameters, SIZE, renderer=renderer)


RENDERERS: dict[str, Render] = {
    **{name: on_the_cpu(name) for name in get_args(Renderer)},
    "without the compiled kernel": lambda image, parameters: opencv.render_views(image, parameters, SIZE),
    "device": on_device,
}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return render_scene(3, (160, 120)).pixels


def parameters(image: np.ndarray, seed: int) -> tuple[ViewParameters, ...]:
    config = BlockViewsConfig(size=SIZE, solarize=(0.5, 0.5))
    return sample_views(config, image.shape[1], image.shape[0], seed=seed, epoch=0, image=0)


@pytest.mark.parametrize("name", [name for name in RENDERERS if name != "reference"])
@pytest.mark.parametrize("seed", range(4))
def test_views_are_those_of_the_reference(name: str, seed: int, image: np.ndarray) -> None:
    drawn = parameters(image, seed)
    views, reference = (RENDERERS[which](image, drawn).astype(np.float64) for which in (name, "reference"))
    assert views.shape == (len(drawn), 3, SIZE, SIZE)
    assert np.abs(views - reference).mean(axis=(1, 2, 3)).max() <= LIMIT


@pytest.mark.parametrize("name", RENDERERS)
def test_nothing_is_drawn_and_the_image_is_left_alone(name: str, image: np.ndarray) -> None:
    kept, drawn = image.copy(), parameters(image, 0)
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    first, second = RENDERERS[name](image, drawn), RENDERERS[name](image, drawn)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, kept)
    np.testing.assert_array_equal(np.random.get_state()[1], state[0])
    assert torch.equal(torch.get_rng_state(), state[1])


@pytest.mark.parametrize("name", RENDERERS)
def test_a_view_does_not_depend_on_those_rendered_with_it(name: str, image: np.ndarray) -> None:
    drawn = parameters(image, 1)
    together = RENDERERS[name](image, drawn)
    alone = np.concatenate([RENDERERS[name](image, (one,)) for one in drawn])
    # Batched arithmetic may round the last bit differently.
    assert np.abs(together.astype(int) - alone.astype(int)).max() <= 1
