"""The simple feature pyramid on a single map of stride 16 (ViTDet, arXiv 2203.16527, Section 3)."""

from __future__ import annotations

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from manyview.detection.models.stages import LEVELS


class SimplePyramid(nn.Module):
    """Maps of strides 4 to 64 made of one of stride 16, each on its own, without a top-down path.

    As in Detectron2's ``SimpleFeaturePyramid``: transposed convolutions of stride 2 for strides 4 (two, with a layer
    norm and GELU between them) and 8, the map itself, max pooling for stride 32; then of each a convolution of 1 x 1
    and one of 3 x 3. Stride 64 is every second cell of stride 32.

    Args:
        channels: of the map.
        out_channels: of the pyramid.
        norm: a layer norm over channels after the convolutions, as in the paper.
    """

    def __init__(self, channels: int, out_channels: int, norm: bool) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        finest = (_doubled(channels, half), _layer_norm(half), nn.GELU(), _doubled(half, quarter))
        levels = (
            (finest, quarter),
            ((_doubled(channels, half),), half),
            ((), channels),
            ((nn.MaxPool2d(2),), channels),
        )
        self.levels = nn.ModuleList(
            nn.Sequential(
                *resize,
                *_convolution(width, out_channels, 1, norm),
                *_convolution(out_channels, out_channels, 3, norm),
            )
            for resize, width in levels
        )
        self.coarsest = LastLevelMaxPool()

    def forward(self, maps: dict[str, Float[Tensor, "batch channels _ _"]]) -> dict[str, Float[Tensor, "batch _ _ _"]]:
        """The pyramid's maps, from stride 4 on, of the only map that is given."""
        [features] = maps.values()
        made = [level(features) for level in self.levels]
        made, names = self.coarsest(made, made, list(LEVELS))
        return OrderedDict(zip(names, made, strict=True))


def _doubled(channels: int, out_channels: int) -> nn.Module:
    return nn.ConvTranspose2d(channels, out_channels, kernel_size=2, stride=2)


def _convolution(channels: int, out_channels: int, size: int, norm: bool) -> list[nn.Module]:
    layer = nn.Conv2d(channels, out_channels, size, padding=size // 2, bias=not norm)
    nn.init.kaiming_uniform_(layer.weight, a=1)  # as torchvision initializes its pyramid
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return [layer, _layer_norm(out_channels)] if norm else [layer]


def _layer_norm(channels: int) -> nn.Module:
    from timm.layers import LayerNorm2d  # imported already with the network, which is one of timm's

    norm: nn.Module = LayerNorm2d(channels)
    return norm
