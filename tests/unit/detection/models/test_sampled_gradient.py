"""The convolution of region proposals against PyTorch's: outputs and gradients, for few positions and for all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from manyview.detection.models import sampled_gradient
from manyview.detection.models.sampled_gradient import SampledConv2d

CHANNELS, HEIGHT, WIDTH = 6, 9, 14


def gradients(layer: nn.Conv2d, maps: Tensor, toward: Tensor) -> list[Tensor]:
    output = layer(maps)
    return [output.detach(), *torch.autograd.grad((output * toward).sum(), [maps, layer.weight, layer.bias])]


@pytest.mark.parametrize("positions", [0, 1, 20, 3 * HEIGHT * WIDTH])
def test_outputs_and_gradients_are_pytorchs(positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At corners and borders, too, and neighbors whose surroundings overlap."""
    torch.manual_seed(positions)
    sampled = SampledConv2d(CHANNELS).double()
    usual = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).double()
    usual.load_state_dict(sampled.state_dict())
    maps = torch.randn(3, CHANNELS, HEIGHT, WIDTH, dtype=torch.float64, requires_grad=True)
    toward = torch.zeros(3, CHANNELS, HEIGHT * WIDTH, dtype=torch.float64)
    chosen = torch.randperm(3 * HEIGHT * WIDTH)[:positions]
    toward[chosen // (HEIGHT * WIDTH), :, chosen % (HEIGHT * WIDTH)] = torch.randn(positions, CHANNELS).double()
    if positions == 20:
        toward[0, :, [0, 1, WIDTH - 1, WIDTH, HEIGHT * WIDTH - 1]] = 1.0
    toward = toward.view(3, CHANNELS, HEIGHT, WIDTH)
    for found, expected in zip(gradients(sampled, maps, toward), gradients(usual, maps, toward), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    if positions == 20:  # the same by PyTorch's backward pass, which a larger share is computed by
        monkeypatch.setattr(sampled_gradient, "MOST", 0.0)
        for found, expected in zip(gradients(sampled, maps, toward), gradients(usual, maps, toward), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_maps_may_need_no_gradient() -> None:
    layer = SampledConv2d(CHANNELS)
    layer(torch.randn(1, CHANNELS, HEIGHT, WIDTH))[0, :, 2, 3].sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.count_nonzero()


def test_autocast_is_pytorchs() -> None:
    layer = SampledConv2d(CHANNELS)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, CHANNELS, HEIGHT, WIDTH)).dtype == torch.bfloat16
