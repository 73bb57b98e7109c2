"""Precise statistics of the norms against moments computed in float64 from what the norms were given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from manyview.backbones.norm_statistics import measure_norms, normalizing_with


class Network(nn.Module):
    """Two norms, the second behind the first; one that is never used, and one that may get nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm1d(3, affine=False)
        self.unused, self.starved = nn.BatchNorm2d(2), nn.BatchNorm1d(3)

    def forward(self, x: Tensor, rows: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        if len(rows):
            self.starved(rows)
        return self.second(x.mean(dim=(2, 3)))


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    network = Network()
    with torch.no_grad():
        network.first.weight.copy_(torch.tensor([0.5, 2.0, -1.0]))
        network.first.bias.copy_(torch.tensor([0.1, -0.3, 0.2]))
    return network.train()


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    """Of different sizes, far from zero."""
    torch.manual_seed(1)
    return [(100 + 3 * torch.randn(count, 3, 4, 5), torch.randn(0, 3)) for count in (2, 5, 3)]


def first_moments(batches: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    arrays = [batch[0].double().numpy() for batch in batches]
    means = np.stack([x.mean(axis=(0, 2, 3)) for x in arrays])
    squares = np.stack([(x**2).mean(axis=(0, 2, 3)) for x in arrays])
    return means.mean(axis=0), squares.mean(axis=0) - means.mean(axis=0) ** 2


def test_mean_and_variance_are_those_of_the_population(network: Network, batches: list[Any]) -> None:
    found = measure_norms(network, batches)
    mean, var = first_moments(batches)
    assert found["first"][0].numpy() == pytest.approx(mean, rel=1e-6)
    assert found["first"][1].numpy() == pytest.approx(var, rel=1e-5)


def test_a_norm_behind_another_sees_what_batch_statistics_give(network: Network, batches: list[Any]) -> None:
    found = measure_norms(network, batches)
    weight, bias = network.first.weight.detach().double().numpy(), network.first.bias.detach().double().numpy()
    means, squares = [], []
    for x, _ in batches:
        pixels = x.double().numpy()
        centerd = pixels - pixels.mean(axis=(0, 2, 3), keepdims=True)
        deviation = np.sqrt((centerd**2).mean(axis=(0, 2, 3), keepdims=True) + network.first.eps)
        shown = np.maximum(centerd / deviation * weight[:, None, None] + bias[:, None, None], 0).mean(axis=(2, 3))
        means.append(shown.mean(axis=0))
        squares.append((shown**2).mean(axis=0))
    mean = np.mean(means, axis=0)
    assert found["second"][0].numpy() == pytest.approx(mean, rel=1e-5)
    assert found["second"][1].numpy() == pytest.approx(np.mean(squares, axis=0) - mean**2, rel=1e-4)


def test_nothing_of_the_network_changes(network: Network, batches: list[Any]) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = measure_norms(network, batches)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.first.track_running_stats
    assert not network.first._forward_pre_hooks
    assert set(found) == {"first", "second"}  # the others came across no values


def test_statistics_are_in_use_for_a_while(network: Network, batches: list[Any]) -> None:
    found = measure_norms(network, batches)
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def measured() -> Tensor:
        with normalizing_with(network, found):
            return network.eval().first(batches[0][0])

    normalized = measured()
    mean, var = (value[:, None, None] for value in found["first"])
    weight, bias = network.first.weight[:, None, None], network.first.bias[:, None, None]
    expected = (batches[0][0] - mean) / (var + network.first.eps).sqrt() * weight + bias
    torch.testing.assert_close(normalized, expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_an_error_puts_the_statistics_back(network: Network, batches: list[Any]) -> None:
    found = measure_norms(network, batches)

    def fail() -> None:
        with normalizing_with(network, found):
            assert torch.equal(network.first.running_mean, found["first"][0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert torch.equal(network.first.running_mean, torch.zeros(3))
