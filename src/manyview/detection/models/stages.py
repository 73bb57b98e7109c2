"""Feature maps of timm's networks at the strides of a feature pyramid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyview.backbones import Backbone
from manyview.backbones.timm import LAST, TimmBackbone, freeze, unused
from manyview.errors import UserError

STRIDES = (4, 8, 16, 32)
SINGLE_STRIDE = 16
LEVELS = ("0", "1", "2", "3")

_BLANK = (96, 160)  # multiples of 32, as all batches, and of nothing larger


@dataclass(frozen=True)
class Stages:
    """Which feature maps of a network a pyramid takes, from the finest on.

    Attributes:
        indices: of each among ``TimmBackbone.maps``.
        channels: of each; of four at ``STRIDES``, or of one at ``SINGLE_STRIDE``.
    """

    indices: tuple[int, ...]
    channels: tuple[int, ...]

    def __call__(
        self, backbone: TimmBackbone, images: Float[Tensor, "batch channels height width"]
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """The feature maps of images."""
        earlier = sorted({index for index in self.indices if index != LAST})
        if not earlier:
            return [backbone(images)]
        maps = backbone.maps(images, earlier)
        return [maps[index] for index in self.indices]


class Pyramid(nn.Module):
    """A backbone and the feature pyramid on its maps.

    Args:
        body: the backbone.
        fpn: from feature maps by level to those of the pyramid by level.
        stages: which of the backbone's maps are the input of ``fpn``.
    """

    def __init__(self, body: TimmBackbone, fpn: nn.Module, stages: Stages) -> None:
        super().__init__()
        self.body, self.fpn, self.stages = body, fpn, stages

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> dict[str, Float[Tensor, "batch _ _ _"]]:
        """The pyramid's maps of images whose sides are multiples of 32, from stride 4 on."""
        result: dict[str, Tensor] = self.fpn(dict(zip(LEVELS, self.stages(self.body, images), strict=False)))
        return result


def find_stages(backbone: Backbone) -> Stages:
    """The maps for a pyramid: the last one at each stride of ``STRIDES``, so where possible the backbone's own.

    A network whose maps all have stride 16, such as a plain transformer, gives its own map alone.

    Args:
        backbone: neither its weights nor its mode change.

    Raises:
        UserError: it is no network of timm's, takes images of one size only, or has no such maps.
    """
    if not isinstance(backbone, TimmBackbone) or not hasattr(backbone.network, "forward_intermediates"):
        raise _refusal(
            backbone, "it is neither a torchvision ResNet nor a network of timm that gives intermediate maps"
        )
    if backbone.fixed_size is not None:
        rows, columns = backbone.fixed_size
        raise _refusal(backbone, f"it takes images of {rows} x {columns} pixels only")
    try:
        maps = backbone.maps_of_blank(*_BLANK)
    except (AssertionError, RuntimeError) as error:
        height, width = _BLANK
        raise _refusal(
            backbone, f"it does not take images of {height} x {width} pixels ({str(error).rstrip('.')})"
        ) from error
    return _choose(backbone, maps)


def freeze_rest(backbone: TimmBackbone, stages: Stages) -> None:
    """Freeze weights that none of the stages' maps depends on; the backbone is in eval mode afterwards."""
    backbone.eval()
    with torch.enable_grad():
        maps = stages(backbone, _blank(backbone))
        output = torch.stack([features.sum() for features in maps]).sum()
        freeze(backbone.network, unused(backbone.network, output))


def _choose(backbone: Backbone, maps: dict[int, Tensor]) -> Stages:
    at: dict[int, int] = {}
    for index, features in maps.items():  # the backbone's own map comes last
        stride = _stride(features)
        if stride is not None:
            at[stride] = index
    if set(STRIDES) <= at.keys():
        indices = tuple(at[stride] for stride in STRIDES)
    elif at.keys() == {SINGLE_STRIDE}:
        indices = (LAST,)
    else:
        strides = ", ".join(map(str, sorted(at))) or "no strides that divide its images"
        raise _refusal(backbone, f"its feature maps have strides {strides}")
    return Stages(indices, tuple(maps[index].shape[1] for index in indices))


def _stride(features: Tensor) -> int | None:
    """Pixels between two cells of a map of blank images; None if they are not the same everywhere."""
    (height, width), (rows, columns) = _BLANK, features.shape[2:]
    stride = height // rows
    return stride if (rows * stride, columns * stride) == (height, width) else None


def _blank(backbone: Backbone) -> Tensor:
    return torch.zeros(1, backbone.in_channels, *_BLANK, device=next(backbone.parameters()).device)


def _refusal(backbone: Backbone, reason: str) -> UserError:
    return UserError(
        f"no feature pyramid can be built on {backbone.name}: {reason}. It needs feature maps at strides 4, 8, 16 and "
        "32, as ResNets, EfficientNets, ConvNeXts, RegNets and MobileNets have, or as plain transformers one at stride "
        "16, of images of any size"
    )
