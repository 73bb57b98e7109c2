"""Barlow Twins and VICReg: their losses and one step by hand in float64, and rows of several pairs and groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from manyview.backbones import wrap_backbone
from manyview.config import ConfigError, PretrainConfig, parse_assignment, resolve
from manyview.methods import METHODS, Method, MethodBatch, barlowtwins, vicreg
from manyview.recipes import recipe_settings
from references import contrastive, redundancy

IMAGES, HIDDEN, DIM, LAMBDA, SCALE = 5, 7, 4, 0.03, 0.5
IDS = torch.tensor([40, 7, 13, 2, 9])
SETTINGS = {
    "barlowtwins": (f"method.off_diagonal={LAMBDA}", f"method.scale={SCALE}"),
    "vicreg": ("method.invariance=3", "method.variance=5", "method.covariance=.7"),
}
both = pytest.mark.parametrize("name", SETTINGS)


def configured(name: str, *texts: str) -> PretrainConfig:
    base = {"data": {"images": "photos"}, **recipe_settings(name)}
    return resolve(base, [parse_assignment(text) for text in texts])


def build(name: str, *texts: str) -> Method:
    torch.manual_seed(0)
    config = configured(name, f"method.hidden_dim={HIDDEN}", f"method.dim={DIM}", *SETTINGS[name], *texts)
    return METHODS[name].build(wrap_backbone(nn.Conv2d(3, 6, 3, stride=2), 9), config).double()


def seen(*sizes: tuple[int, int]) -> MethodBatch:
    """Groups of views, each with a count and a size."""
    generator = torch.Generator().manual_seed(1)
    groups = tuple(
        torch.randn(IMAGES, count, 3, size, size, generator=generator, dtype=torch.float64) for count, size in sizes
    )
    return MethodBatch(groups, IDS, lambda count: torch.arange(count))


def normed(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)


def projections(method: Any, batch: MethodBatch) -> list[np.ndarray]:
    """Both sides, with the head by hand: each group's first views in one pass of the network, its second in another."""
    w1, gain1, shift1, w2, gain2, shift2, w3 = (value.detach().numpy() for value in method.projector.parameters())
    sides = []
    for side in (0, 1):
        parts = []
        for group in batch.groups:
            views = group[:, side::2].flatten(0, 1)
            h = method.backbone(views).mean((2, 3)).detach().numpy() @ w1.T
            h = np.maximum(normed(h) * gain1 + shift1, 0) @ w2.T
            z = np.maximum(normed(h) * gain2 + shift2, 0) @ w3.T
            parts.append(normed(z) if isinstance(method, barlowtwins.BarlowTwins) else z)
        sides.append(np.concatenate(parts))
    return sides


def by_definition(name: str, z1: np.ndarray, z2: np.ndarray) -> dict[str, float]:
    """The loss and the scalars that are logged beside it."""
    if name == "barlowtwins":
        on, off = redundancy.barlow_twins(z1, z2, LAMBDA)
        return {"loss": SCALE * (on + off), "on_diagonal": on, "off_diagonal": off / LAMBDA}
    s, v, c = redundancy.vicreg(z1, z2)
    return {"loss": 3 * s + 5 * v + 0.7 * c, "invariance": s, "variance": v, "covariance": c}


@both
@pytest.mark.parametrize("sizes", [((2, 9),), ((8, 9),), ((2, 9), (4, 7))], ids=["a pair", "four pairs", "two groups"])
def test_the_loss_is_that_of_the_definition(name: str, sizes: tuple[tuple[int, int], ...]) -> None:
    """Several pairs of an image are so many rows."""
    method, batch = build(name), seen(*sizes)
    z1, z2 = projections(method, batch)
    assert len(z1) == IMAGES * sum(count // 2 for count, _ in sizes)

    result = method(batch)

    for key, value in by_definition(name, z1, z2).items():
        assert result[key].item() == pytest.approx(value, rel=1e-9), key
    np.testing.assert_allclose(result["z"].numpy(), z1, rtol=1e-8)


@both
def test_a_step_follows_the_numerical_gradient(name: str) -> None:
    """Central differences of the definition in the last layer's weights, which change both sides."""
    method: Any = build(name)
    batch = seen((4, 9))
    method(batch)["loss"].backward()
    last = method.projector.layers[6]
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    start, small = last.weight.detach().clone(), 1e-6

    def loss_at(weight: Tensor) -> float:
        with torch.no_grad():
            last.weight.copy_(weight)
        return by_definition(name, *projections(method, batch))["loss"]

    numerical = {}
    for row, column in ((0, 0), (2, 3), (3, 6)):
        change = torch.zeros_like(start)
        change[row, column] = small
        numerical[row, column] = (loss_at(start + change) - loss_at(start - change)) / (2 * small)
    with torch.no_grad():
        last.weight.copy_(start)
    optimizer.step()

    for place, gradient in numerical.items():
        assert (last.weight[place] - start[place]).item() == pytest.approx(-0.1 * gradient, rel=1e-5, abs=1e-9)


@both
def test_the_image_aware_loss_is_added(name: str) -> None:
    method, batch = build(name, "losses.image_aware.weight=2", "losses.image_aware.temperature=.5"), seen((4, 9))
    z1, z2 = projections(method, batch)
    ids = np.repeat(IDS.numpy(), 2)
    term = contrastive.image_aware([(z1, z2)], ids, np.arange(len(ids)), temperature=0.5)
    own = by_definition(name, z1, z2)["loss"]

    result = method(batch)

    assert result["image_aware"].item() == pytest.approx(term, rel=1e-9)
    assert result["barlow_twins" if name == "barlowtwins" else "vicreg"].item() == pytest.approx(own, rel=1e-9)
    assert result["loss"].item() == pytest.approx(own + 2 * term, rel=1e-9)


def test_correlations_do_not_depend_on_scale_and_mean() -> None:
    """Of one side, and of vectors that are not so small that the epsilon shows: unlike covariances."""
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(50, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    matrix = barlowtwins.cross_correlation(first, second)

    np.testing.assert_allclose(matrix, np.corrcoef(first.T, second.T)[:4, 4:], atol=1e-4)
    torch.testing.assert_close(barlowtwins.cross_correlation(100 * first + 7, second), matrix, atol=1e-4, rtol=0)


def test_vicreg_is_at_rest_where_dimensions_are_independent_and_wide() -> None:
    """Two equal views, deviations above 1, no covariance; and the hinge has a gradient where all vectors are equal."""
    z = torch.tensor([[2.0, 2.0], [2.0, -2.0], [-2.0, 2.0], [-2.0, -2.0]], dtype=torch.float64)
    assert (vicreg.variance(z).item(), vicreg.covariance(z).item()) == (0, 0)
    equal = torch.ones(4, 2, requires_grad=True)
    loss = vicreg.variance(equal)
    loss.backward()
    assert loss.item() == pytest.approx(1 - 1e-2)  # the root of the epsilon is left of the deviation
    assert equal.grad is not None
    assert equal.grad.isfinite().all()


def test_rates_and_augmentation_are_those_of_the_released_code() -> None:
    """2,048 images: .2 x 8 for weights; .024 of it for what LARS does not adapt."""
    for name, decay in (("barlowtwins", 2.4e-8), ("vicreg", 1e-6)):
        config = configured(name)
        assert (config.learning_rate, config.training.weight_decay) == (pytest.approx(1.6), decay)
        assert (config.views.blur, config.views.solarize) == ((1.0, 0.1), (0.0, 0.2))
        assert (config.views.scale, config.views.saturation) == ((0.08, 1.0), 0.2)
        backbone = wrap_backbone(nn.Conv2d(3, 6, 3), 9)
        with torch.device("meta"):  # hundreds of millions of numbers, of which only the shapes are read
            head = METHODS[name].build(backbone, config).get_submodule("projector")
        shapes = [tuple(value.shape) for value in head.parameters() if value.ndim == 2]
        assert shapes == [(8192, 6), (8192, 8192), (8192, 8192)]
    method = configured("barlowtwins").model_dump()["method"]
    assert (method["off_diagonal"], 0.2 * method["scale"]) == (0.0051, pytest.approx(0.0048))


@both
def test_views_that_are_no_pairs_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"views.groups\[0\].count is 3, but method.name is {name}"):
        configured(name, "views.kind=groups", "views.groups=[{count=3}]")
