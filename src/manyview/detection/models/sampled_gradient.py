"""Convolution 3 x 3 whose output has a gradient at few positions, as that of region proposals has.

The losses of a region proposal network are those of 256 anchors an image, out of up to a quarter of a million; the
gradient of all others is zero. On a CPU the backward pass computes with the positions that have one, instead of
convolving whole maps, mostly of zeros (``benchmarks.detection.loop``).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

MOST = 0.3  # share of the positions; with more, PyTorch's backward pass takes less memory and hardly more time


class SampledConv2d(nn.Conv2d):
    """Convolution 3 x 3 with padding 1, for outputs of which few positions go into a loss.

    Its outputs and gradients are those of ``nn.Conv2d``, but for the order of sums.

    Args:
        channels: of its inputs, and of its outputs.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(
        self, input: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """As ``nn.Conv2d``'s."""
        if input.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        output: Tensor = _SampledConvolution.apply(input, self.weight, self.bias)
        return output


class _SampledConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(maps, weight)
        return F.conv2d(maps, weight, bias, padding=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        maps, weight = ctx.saved_tensors
        gradient = gradients[0]
        image, y, x = (gradient != 0).any(dim=1).nonzero(as_tuple=True)
        if len(image) > MOST * gradient[:, 0].numel():
            of_maps, of_weight, of_bias = torch.ops.aten.convolution_backward(
                *(gradient, maps, weight, [len(weight)], [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
                [ctx.needs_input_grad[0], True, True],
            )
            return of_maps, of_weight, of_bias
        sampled = gradient[image, :, y, x]
        neighbors = _neighbors(image, y, x, *maps.shape[2:])
        padded = F.pad(maps, (1, 1, 1, 1)).permute(0, 2, 3, 1)
        vectors = padded.flatten(0, 2)[neighbors].flatten(1)
        of_weight = (sampled.T @ vectors).unflatten(1, (3, 3, -1)).permute(0, 3, 1, 2)
        of_maps = None
        if ctx.needs_input_grad[0]:
            of_vectors = sampled @ weight.permute(0, 2, 3, 1).flatten(1)
            sums = padded.new_zeros(padded.shape).flatten(0, 2)
            sums.index_add_(0, neighbors.flatten(), of_vectors.unflatten(1, (9, -1)).flatten(0, 1))
            of_maps = sums.view(padded.shape)[:, 1:-1, 1:-1].permute(0, 3, 1, 2).contiguous()
        return of_maps, of_weight.contiguous(), sampled.sum(dim=0)


def _neighbors(
    image: Int[Tensor, " sampled"], y: Int[Tensor, " sampled"], x: Int[Tensor, " sampled"], height: int, width: int
) -> Int[Tensor, "sampled 9"]:
    """Indices of the 3 x 3 vectors around positions, row by row, in maps padded by 1."""
    steps = torch.arange(3)
    rows = image[:, None] * (height + 2) + y[:, None] + steps
    return (rows[:, :, None] * (width + 2) + (x[:, None] + steps)[:, None]).flatten(1)
