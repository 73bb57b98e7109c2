"""Convolutions that do the work of the norms behind them, for networks that are not trained."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from manyview.backbones.base import Backbone
from manyview.backbones.build import ResNetBackbone


def folded(backbone: Backbone) -> Backbone:
    """A copy of a torchvision ResNet without norms; any other backbone as it is.

    In eval mode a norm is a factor and an addend for each channel, which the convolution before it can apply as well
    (``torch.nn.utils.fusion``). The features are the same but for rounding.

    Args:
        backbone: in eval mode, its norms with running statistics; unchanged.
    """
    assert not backbone.training
    if not isinstance(backbone, ResNetBackbone):
        return backbone
    copied = copy.deepcopy(backbone)
    for module in list(copied.modules()):
        if isinstance(module, nn.Sequential):  # of a shortcut; the stages are sequences of blocks
            _fold(module, "0", "1")
        for name in [name for name, _ in module.named_children() if name.startswith("conv")]:
            _fold(module, name, name.replace("conv", "bn"))
    return copied


def _fold(module: nn.Module, convolution: str, norm: str) -> None:
    first, second = getattr(module, convolution, None), getattr(module, norm, None)
    if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
        setattr(module, convolution, fuse_conv_bn_eval(first, second))
        setattr(module, norm, nn.Identity())
