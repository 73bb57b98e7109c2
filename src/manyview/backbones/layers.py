"""A backbone up to one of its stages, or with a run's heads on its pooled last map, as another backbone."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from manyview.backbones.base import Backbone
from manyview.backbones.build import RESNET_MODULES, ResNetBackbone
from manyview.backbones.timm import LAST, TimmBackbone, trial_size

_RESNET_STAGES = RESNET_MODULES[-4:]
_FIRST_STRIDE = 4  # finer maps are of a stem


class LayerBackbone(Backbone):
    """A part of a backbone, or more than it, that takes the same images; it shares the backbone's modules.

    Args:
        whole: the backbone.
        layer: name of the layer whose output this gives.
        out_channels: of that output.
    """

    def __init__(self, whole: Backbone, layer: str, out_channels: int) -> None:
        super().__init__(whole.name, out_channels, whole.classifier)
        self.whole, self.layer = whole, layer
        self.in_channels, self.zero_init_residual, self.loading = (
            whole.in_channels,
            whole.zero_init_residual,
            whole.loading,
        )
        self.take_images(whole.mean, whole.std, rgb=whole.rgb)
        self.bit_depth = whole.bit_depth
        self.train(whole.training)


class ResNetStage(LayerBackbone):
    """A torchvision ResNet up to one of its four stages.

    Args:
        whole: the network.
        number: of the stage, from 1.
    """

    whole: ResNetBackbone

    def __init__(self, whole: ResNetBackbone, number: int) -> None:
        super().__init__(whole, f"stage{number}", whole.out_channels // 2 ** (len(_RESNET_STAGES) - number))
        self._last = _RESNET_STAGES[number - 1]

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels rows columns"]:
        """The stage's output."""
        return self.whole.up_to(self._last, x)


class TimmStage(LayerBackbone):
    """A network of timm's up to one of its intermediate maps.

    Args:
        whole: the network.
        layer: name of the stage.
        index: of the map among those of ``forward_intermediates``.
        out_channels: of the map.
    """

    whole: TimmBackbone

    def __init__(self, whole: TimmBackbone, layer: str, index: int, out_channels: int) -> None:
        super().__init__(whole, layer, out_channels)
        self._index = index

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels rows columns"]:
        """The intermediate map, without the norm that may follow the network's last one."""
        return self.whole.intermediate_map(x, self._index)


class HeadedBackbone(LayerBackbone):
    """A backbone, average pooling, and heads that were trained on it; its maps have one position.

    Args:
        whole: the backbone.
        layer: name of the last head.
        heads: from pooled features (B, D) to (B, E).
        out_channels: E.
    """

    def __init__(self, whole: Backbone, layer: str, heads: nn.Module, out_channels: int) -> None:
        super().__init__(whole, layer, out_channels)
        self.heads = heads.train(whole.training)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch out_channels 1 1"]:
        """The output of the heads."""
        vectors: Tensor = self.heads(self.whole(x).mean(dim=(2, 3)))
        return vectors[:, :, None, None]


def stages(backbone: Backbone) -> dict[str, LayerBackbone]:
    """A backbone up to each of its stages, by name: "stage1" and so on from the image.

    Of a torchvision ResNet these are the outputs of ``layer1`` to ``layer4``; of a network of timm's the intermediate
    maps that timm gives, from stride 4 on where they differ in stride, so that ResNets, ConvNeXts and EfficientNets
    have four stages, and a transformer one for each block.

    Args:
        backbone: neither its weights nor its mode change.

    Returns:
        none for a network of timm's without intermediate maps, and for a module of one's own.
    """
    if isinstance(backbone, ResNetBackbone):
        return {f"stage{number}": ResNetStage(backbone, number) for number in range(1, len(_RESNET_STAGES) + 1)}
    if not isinstance(backbone, TimmBackbone) or not hasattr(backbone.network, "forward_intermediates"):
        return {}
    (height, width), _ = trial_size(backbone.network)
    maps = backbone.maps_of_blank(height, width)
    del maps[LAST]
    strides = {index: height / features.shape[2] for index, features in maps.items()}
    several = len(set(strides.values())) > 1
    indices = [index for index in maps if strides[index] >= _FIRST_STRIDE or not several]
    names = [f"stage{number}" for number in range(1, len(indices) + 1)]
    return {
        name: TimmStage(backbone, name, index, maps[index].shape[1]) for name, index in zip(names, indices, strict=True)
    }
