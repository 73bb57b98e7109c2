"""The layouts that names are held against, beside the networks themselves."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import get_model

from manyview.backbones.build import RESNETS
from manyview.backbones.formats import to_detectron2, to_transformers
from manyview.export.resnet_layouts import PLANS, detectron2_layout, openmmlab_layout, transformers_layout

Shapes = dict[str, tuple[int, ...]]


def shapes(name: str) -> Shapes:
    """Torchvision's own, without the classifier."""
    with torch.device("meta"):
        state = get_model(name, weights=None).state_dict()
    return {key: tuple(value.shape) for key, value in state.items() if not key.startswith("fc.")}


def test_every_resnet_has_a_plan() -> None:
    assert set(PLANS) == set(RESNETS)


@pytest.mark.parametrize("name", RESNETS)
def test_the_definitions_give_torchvisions_weights(name: str) -> None:
    own = shapes(name)
    assert detectron2_layout(name) == {to_detectron2(key): shape for key, shape in own.items()}
    assert openmmlab_layout(name) == {f"backbone.{key}": shape for key, shape in own.items()}
    assert transformers_layout(name) == {to_transformers(key): shape for key, shape in own.items()}


def test_resnet50_in_detectron2() -> None:
    layout = detectron2_layout("resnet50", in_channels=5)

    convolutions = [name for name, shape in layout.items() if len(shape) == 4]
    assert len(convolutions) == 53
    assert len(layout) == 53 * 6  # A weight, and five tensors of the norm.
    assert all(f"{name.removesuffix('weight')}norm.running_var" in layout for name in convolutions)
    assert {name.partition(".")[0] for name in layout} == {"stem", "res2", "res3", "res4", "res5"}
    # By hand, from the definition of the network.
    assert layout["stem.conv1.weight"] == (64, 5, 7, 7)
    assert layout["res2.0.shortcut.weight"] == (256, 64, 1, 1)
    assert layout["res4.5.conv2.weight"] == (256, 256, 3, 3)
    assert layout["res5.2.conv3.norm.bias"] == (2048,)
    assert "res2.1.shortcut.weight" not in layout


def test_resnet18_in_detectron2() -> None:
    layout = detectron2_layout("resnet18")

    assert len([name for name, shape in layout.items() if len(shape) == 4]) == 20
    assert "res2.0.shortcut.weight" not in layout  # As wide as the stem.
    assert layout["res3.0.shortcut.weight"] == (128, 64, 1, 1)
    assert layout["res5.1.conv2.weight"] == (512, 512, 3, 3)
    assert not any(".conv3." in name for name in layout)


def test_the_groups_of_a_resnext() -> None:
    layout = openmmlab_layout("resnext101_64x4d")

    assert layout["backbone.layer1.0.conv2.weight"] == (256, 4, 3, 3)
    assert layout["backbone.layer3.22.conv2.weight"] == (1024, 16, 3, 3)
    assert "backbone.layer3.23.conv1.weight" not in layout


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_transformers_own_network_has_that_layout(name: str) -> None:
    from transformers import ResNetConfig, ResNetModel

    plan = PLANS[name]
    config = ResNetConfig(
        hidden_sizes=list(plan.channels),
        depths=list(plan.blocks),
        layer_type="bottleneck" if plan.bottleneck else "basic",
    )
    with torch.device("meta"):
        state = ResNetModel(config).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == transformers_layout(name)
