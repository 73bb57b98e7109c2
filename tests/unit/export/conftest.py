from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import pytest
import torch
from timm.models import resnet
from torch import nn

from manyview.backbones import Backbone, build_backbone, wrap_backbone
from manyview.backbones import timm as timm_module
from manyview.export import resnet_layouts
from tests.helpers.narrow import narrowed

Network = TypeVar("Network", bound=nn.Module)


def filled(backbone: Network) -> Network:
    """The network with each of a norm's five tensors far from where it starts, so that one left behind shows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.0)
                nn.init.uniform_(module.bias, -0.2, 0.2)
                nn.init.uniform_(module.running_mean, -0.2, 0.2)
                nn.init.uniform_(module.running_var, 0.8, 1.2)
                module.num_batches_tracked.fill_(7)
    return backbone.eval()


@pytest.fixture(scope="session")
def network() -> Callable[[str], Backbone]:
    """Backbones by name, each made once and for reading only; "+4" after a name is for images of four bands."""
    return partial(_get, {})


def _get(made: dict[str, Backbone], name: str) -> Backbone:
    if name not in made:
        bare, _, channels = name.partition("+")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            backbone = build_backbone(bare, in_channels=int(channels or 3))
        if channels:
            backbone.mean, backbone.std = (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)
        made[name] = filled(backbone)
    return made[name]


@pytest.fixture(scope="session")
def slim_ones() -> dict[str, Backbone]:
    return {}


@pytest.fixture
def slim(slim_ones: dict[str, Backbone]) -> Iterator[Callable[[str], Backbone]]:
    """``network``, with a quarter of the channels that torchvision, timm and the papers give the ResNets."""
    plans = {name: replace(plan, width=plan.width // 4) for name, plan in resnet_layouts.PLANS.items()}
    stem = patch.object(resnet_layouts, "STEM_WIDTH", 16)
    with narrowed(4), slim_timm(), stem, patch.dict(resnet_layouts.PLANS, plans):
        yield partial(_get, slim_ones)


@contextlib.contextmanager
def slim_timm() -> Iterator[None]:
    """timm's ResNets of a plain stem, as torchvision's are, with a quarter of their channels."""
    of_full_width = resnet.ResNet, resnet.make_blocks

    def make_blocks(block_fns: Any, channels: Sequence[int], blocks: Any, inplanes: int, **named: Any) -> Any:
        return of_full_width[1](block_fns, channels, blocks, 16 if channels[0] == 16 else inplanes, **named)

    class SlimResNet(of_full_width[0]):  # type: ignore[misc]
        def __init__(self, *layers: Any, stem_type: str = "", **named: Any) -> None:
            channels = {} if stem_type else {"channels": (16, 32, 64, 128)}
            super().__init__(*layers, stem_type=stem_type, **(channels | named))
            if not stem_type:
                self.conv1 = nn.Conv2d(self.conv1.in_channels, 16, 7, 2, 3, bias=False)
                self.bn1 = nn.BatchNorm2d(16)
                self.feature_info[0]["num_chs"] = 16

    slim = patch.multiple(resnet, ResNet=SlimResNet, make_blocks=make_blocks)
    with slim, patch.dict(timm_module._FEATURES, clear=True):
        yield


@pytest.fixture(scope="session")
def small() -> Backbone:
    """Somebody's own network of two convolutions with a norm between them, for reading only."""
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, 2, 1))
    return wrap_backbone(filled(layers), image_size=32)


@pytest.fixture(scope="session", autouse=True)
def one_registry() -> Iterator[None]:
    """PyTorch parses its hundreds of ONNX functions for every export anew, a third of the time of one; here once."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    once = staticmethod(functools.cache(ONNXRegistry.from_torchlib))
    with patch.object(ONNXRegistry, "from_torchlib", once):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for file in tmp_path.rglob("*"):  # pytest would keep these of three sessions.
        if file.is_file():
            file.unlink()
