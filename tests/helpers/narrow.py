"""Networks of the usual depth, modules and names with a part of the channels, where a test needs no more."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torchvision.models.resnet
from torch import nn
from torchvision.models.resnet import ResNet

from manyview.backbones import build
from manyview.detection.models import fpn, roi_heads


@pytest.fixture(scope="module")
def narrow() -> Iterator[None]:
    """Networks with an eighth of their channels, which make a detector's step take a tenth of the time."""
    with narrowed(8):
        yield


@contextlib.contextmanager
def narrowed(factor: int) -> Iterator[None]:
    """ResNets of torchvision, feature pyramids and detectors' heads with a fraction of their channels.

    What they are made of and how wide they are otherwise is for tests without.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.models.resnet, "ResNet", _narrow_resnet(factor))
        for owner, name in ((fpn, "CHANNELS"), (fpn, "BOX_FEATURES"), (roi_heads, "MASK_CHANNELS")):
            patch.setattr(owner, name, getattr(owner, name) // factor)
        patch.setattr(build, "_resnet_shapes", _narrow_shapes(factor))
        yield


@functools.cache
def _narrow_shapes(factor: int) -> Callable[[str], frozenset[Any]]:
    """The shapes by which such ResNets are recognized, for the rest of the process; the usual ones are kept as well."""
    return functools.cache(build._resnet_shapes.__wrapped__)


def _narrow_resnet(factor: int) -> type[ResNet]:
    class NarrowResNet(ResNet):  # type: ignore[misc]
        def __init__(self, *args: object, **named: object) -> None:
            super().__init__(*args, **named)
            self.fc = nn.Linear(self.inplanes, self.fc.out_features)

        def _make_layer(self, block: type[nn.Module], planes: int, blocks: int, **named: object) -> nn.Sequential:
            if planes == self.inplanes:  # the first
                self.inplanes //= factor
                self.conv1 = nn.Conv2d(3, self.inplanes, 7, 2, 3, bias=False)
                self.bn1 = nn.BatchNorm2d(self.inplanes)
            layers: nn.Sequential = super()._make_layer(block, planes // factor, blocks, **named)
            return layers

    return NarrowResNet
