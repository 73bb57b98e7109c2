"""Backbones up to one of their stages, against the modules' own outputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from manyview.backbones import Backbone, build_backbone, wrap_backbone
from manyview.backbones.build import folded
from manyview.backbones.layers import HeadedBackbone, stages


def network(name: str, **options: int) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = build_backbone(name, zero_init_residual=False, **options).eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that folding has to take in
            nn.init.uniform_(module.running_var, 0.5, 2)
    return backbone


def images(channels: int = 3) -> Tensor:
    return torch.rand(2, channels, 64, 96, generator=torch.Generator().manual_seed(1))


def seen_at(backbone: Backbone, module: str, x: Tensor) -> Tensor:
    """The output of a module while the whole network runs."""
    seen: list[Tensor] = []
    handle = backbone.get_submodule(module).register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        backbone(x)
    handle.remove()
    return seen[0]


# A transformer's blocks give tokens, of which the first is no patch.
MODULES = {
    "resnet18": ["layer1", "layer2", "layer3", "layer4"],
    "timm/test_resnet": [f"network.layer{number}" for number in (1, 2, 3, 4)],
    "timm/test_convnext": [f"network.stages.{number}" for number in range(4)],
    "timm/test_vit": [f"network.blocks.{number}" for number in range(6)],
}


@pytest.mark.parametrize("name", MODULES)
def test_a_stage_gives_the_output_of_its_module(name: str) -> None:
    backbone = network(name)
    found = stages(backbone)
    assert list(found) == [f"stage{number}" for number in range(1, len(MODULES[name]) + 1)]
    for (stage, part), module in zip(found.items(), MODULES[name], strict=True):
        expected = seen_at(backbone, module, images())
        if expected.ndim == 3:
            expected = expected[:, 1:].transpose(1, 2).unflatten(2, (4, 6))
        with torch.no_grad():
            maps = part.eval()(images())
        torch.testing.assert_close(maps, expected)
        assert (part.layer, part.name, part.out_channels) == (stage, name, maps.shape[1])


def test_maps_of_a_stem_are_no_stage() -> None:
    found = stages(network("timm/test_efficientnet"))
    with torch.no_grad():
        sides = [part(images()).shape[2] for part in found.values()]
    assert sides == [16, 8, 4, 2]


def test_networks_without_stages_have_none() -> None:
    assert stages(wrap_backbone(nn.Conv2d(3, 4, 3), 32)) == {}


@pytest.mark.parametrize("name", ["resnet18", "timm/test_vit"])
def test_the_network_stays_as_it_was(name: str) -> None:
    backbone = network(name).train()
    parts = stages(backbone)
    assert backbone.training
    assert all(part.training and part.whole is backbone for part in parts.values())
    assert backbone.layer is None


def test_a_stage_takes_the_images_of_its_network() -> None:
    backbone = network("resnet18", in_channels=5)
    backbone.take_images((0.1, 0.2, 0.3, 0.4, 0.5), (1.0,) * 5, rgb=False)
    part = stages(backbone)["stage2"]
    assert (part.in_channels, part.rgb, part.mean, part.std) == (5, False, backbone.mean, backbone.std)
    with torch.no_grad():
        assert part(images(5)).shape == (2, 128, 8, 12)


def test_a_resnet_within_is_folded() -> None:
    part = stages(network("resnet18"))["stage3"].eval()
    fast = folded(part)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    with torch.no_grad():
        torch.testing.assert_close(fast(images()), part(images()), rtol=1e-4, atol=1e-4)
    # The original keeps its norms.
    assert any(isinstance(module, nn.BatchNorm2d) for module in part.modules())


def test_heads_take_the_average_of_the_last_map() -> None:
    backbone = network("timm/test_resnet")
    heads = nn.Sequential(nn.Linear(backbone.out_channels, 6), nn.BatchNorm1d(6))
    part = HeadedBackbone(backbone, "projector", heads, 6)
    assert not heads.training  # as the network
    with torch.no_grad():
        expected = heads(backbone(images()).mean(dim=(2, 3)))
        assert part(images()).shape == (2, 6, 1, 1)
        torch.testing.assert_close(part(images())[:, :, 0, 0], expected)
