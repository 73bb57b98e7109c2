"""Folded norms: the same features, without a norm left."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from manyview.backbones import build_backbone
from manyview.backbones.build import folded
from tests.helpers.narrow import narrowed


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
@narrowed(4)
def test_a_folded_network_gives_the_same_features(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, zero_init_residual=False).double().eval()
    for norm in (module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1)
        nn.init.normal_(norm.bias, std=0.2)
        norm.running_mean.normal_(std=0.2)
        norm.running_var.uniform_(0.5, 2)
    before = copy.deepcopy(backbone.state_dict())
    without = folded(backbone)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in without.modules())
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(without(images), backbone(images), rtol=1e-10, atol=1e-10)
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())
    assert len(before) == len(backbone.state_dict())


def test_other_networks_stay_as_they_are() -> None:
    backbone = build_backbone("timm/test_resnet").eval()
    assert folded(backbone) is backbone
