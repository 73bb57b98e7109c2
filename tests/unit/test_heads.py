from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from manyview.heads import BottleneckProjector, BYOLHead, MoCoProjector, Predictor, Projector, build_head


def outline(module: nn.Module) -> list[tuple[object, ...]]:
    """Kind, widths, and bias or affine, of every layer in order."""
    layers: list[tuple[object, ...]] = []
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layers.append(("linear", layer.in_features, layer.out_features, layer.bias is not None))
        elif isinstance(layer, nn.BatchNorm1d):
            assert layer.affine == (layer.weight is not None) == (layer.bias is not None)
            layers.append(("norm", layer.num_features, layer.affine, layer.track_running_stats))
        elif isinstance(layer, nn.ReLU):
            layers.append(("relu",))
        else:
            assert not list(layer.parameters(recurse=False))
    return layers


def test_projector_is_simsiams() -> None:
    with torch.device("meta"):
        assert outline(Projector(512)) == [
            ("linear", 512, 2048, False),
            ("norm", 2048, True, True),
            ("relu",),
            ("linear", 2048, 2048, False),
            ("norm", 2048, True, True),
            ("relu",),
            ("linear", 2048, 2048, False),
            ("norm", 2048, False, True),
        ]


def test_predictor_is_simsiams() -> None:
    with torch.device("meta"):
        assert outline(Predictor()) == [
            ("linear", 2048, 512, False),
            ("norm", 512, True, True),
            ("relu",),
            ("linear", 512, 2048, True),
        ]


def test_byols_heads_are_those_of_its_released_code() -> None:
    """Without the first layer's bias, which the normalization would cancel; nothing after the last layer."""
    with torch.device("meta"):
        assert outline(BYOLHead(2048)) == [
            ("linear", 2048, 4096, False),
            ("norm", 4096, True, True),
            ("relu",),
            ("linear", 4096, 256, False),
        ]


def test_mocos_projector_is_a_plain_mlp() -> None:
    with torch.device("meta"):
        assert outline(MoCoProjector(512)) == [("linear", 512, 2048, True), ("relu",), ("linear", 2048, 128, True)]


def normed(x: np.ndarray, weight: np.ndarray | float = 1.0, bias: np.ndarray | float = 0.0) -> np.ndarray:
    """Batch normalization by the batch's own statistics, epsilon 1e-5."""
    centerd = x - x.mean(0)
    return centerd / np.sqrt((centerd**2).mean(0) + 1e-5) * weight + bias


def randomized(module: nn.Module) -> tuple[nn.Module, list[np.ndarray]]:
    """Float64 with every parameter drawn anew, so that no bias or scale is neutral; the parameters in order."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.double().parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return module, [parameter.detach().numpy() for parameter in module.parameters()]


def test_projector_in_training_equals_its_definition() -> None:
    module, (w1, gamma1, beta1, w2, gamma2, beta2, w3) = randomized(Projector(5, 7))
    x = np.random.default_rng(0).normal(size=(9, 5))
    hidden = np.maximum(normed(x @ w1.T, gamma1, beta1), 0)
    hidden = np.maximum(normed(hidden @ w2.T, gamma2, beta2), 0)
    actual = module.train()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(actual, normed(hidden @ w3.T), atol=1e-12)


def test_predictor_in_training_equals_its_definition() -> None:
    module, (w1, gamma, beta, w2, bias) = randomized(Predictor(6, 3))
    x = np.random.default_rng(1).normal(size=(8, 6))
    expected = np.maximum(normed(x @ w1.T, gamma, beta), 0) @ w2.T + bias
    np.testing.assert_allclose(module.train()(torch.from_numpy(x)).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("head", [Projector(4, 6), Predictor(4, 2)])
def test_input_is_left_as_it_was(head: nn.Module) -> None:
    x = torch.randn(5, 4)
    before = x.clone()
    head(x)
    assert torch.equal(x, before)


def test_bottleneck_projector_is_dinos() -> None:
    """GELU is x times the normal distribution's cumulative probability; initial weights as in the released code."""
    torch.manual_seed(0)
    head = BottleneckProjector(300, 400, 5)
    for layer in head.layers[::2]:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert not layer.bias.any()
    module, (w1, b1, w2, b2, w3, b3) = randomized(BottleneckProjector(5, 7, 3))
    x = np.random.default_rng(1).normal(size=(8, 5))

    def gelu(h: np.ndarray) -> np.ndarray:
        return h * scipy.stats.norm.cdf(h)

    expected = gelu(gelu(x @ w1.T + b1) @ w2.T + b2) @ w3.T + b3
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach().numpy(), expected, atol=1e-12)
    again = build_head(module.describe()).double()
    again.load_state_dict(module.state_dict())
    assert torch.equal(again(torch.from_numpy(x)), module(torch.from_numpy(x)))
