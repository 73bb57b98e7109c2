"""The feature pyramid on timm's networks: which maps it takes, their weights, and which networks are refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyview.backbones import Backbone, build_backbone, wrap_backbone
from manyview.backbones.timm import TimmBackbone
from manyview.detection.models import Detector, build_detector, match_weights
from manyview.detection.models.simple_pyramid import SimplePyramid
from manyview.detection.models.stages import find_stages
from manyview.detection.starting import make_optimizer
from manyview.errors import UserError
from tests.helpers.detections import SMALL_DETECTOR

# The modules whose outputs timm's own feature extraction takes at strides 4, 8 and 16.
STAGES = {
    "timm/test_resnet": ("layer1", "layer2", "layer3"),
    "timm/test_efficientnet": ("blocks.1", "blocks.2", "blocks.3"),
    "timm/test_convnext": ("stages.0", "stages.1", "stages.2"),
    "timm/regnetx_002": ("s1", "s2", "s3"),
    "timm/mobilenetv3_small_050": ("blocks.0", "blocks.1", "blocks.3"),
    "timm/test_mambaout": ("stages.0", "stages.1", "stages.2"),  # channels last
}


def build(name: str, **changes: object) -> tuple[Backbone, Detector]:
    torch.manual_seed(0)
    backbone = build_backbone(name).eval()
    backbone.take_images((0.5, 0.4, 0.3), (0.5, 0.6, 0.7), rgb=True)
    return backbone, build_detector("fpn", backbone, **{**SMALL_DETECTOR, **changes})


def own_activations(backbone: Backbone, names: tuple[str, ...], images: Tensor) -> list[Tensor]:
    """Outputs of modules of a network while it makes its feature map, which is the last."""
    assert isinstance(backbone, TimmBackbone)
    found: list[Tensor] = []
    handles = [
        backbone.network.get_submodule(name).register_forward_hook(lambda _, given, output: found.append(output))
        for name in names
    ]
    last = backbone(images)
    for handle in handles:
        handle.remove()
    return [*found, last]


@pytest.mark.parametrize("name", STAGES)
def test_maps_are_the_backbones_own_activations_and_all_weights_are_there(name: str) -> None:
    backbone, detector = build(name)
    pyramid = detector.eval().backbone
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = own_activations(backbone, STAGES[name], images)
        maps = pyramid.stages(pyramid.body, images)
        assert [tuple(features.shape[2:]) for features in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
        for found, own in zip(maps, expected, strict=True):
            assert torch.equal(found, own if own.shape == found.shape else own.permute(0, 3, 1, 2))
        shapes = {level: tuple(features.shape) for level, features in pyramid(images).items()}
    sides = {"0": (16, 24), "1": (8, 12), "2": (4, 6), "3": (2, 3), "pool": (1, 2)}
    assert shapes == {level: (2, 256, *side) for level, side in sides.items()}
    match = match_weights(detector, backbone)
    assert match.absent == ()
    assert match.convolutions[0] == match.convolutions[1] > 0
    assert match.norms[0] == match.norms[1] > 0
    assert (detector.transform.image_mean, detector.transform.image_std) == ([0.5, 0.4, 0.3], [0.5, 0.6, 0.7])


def objects() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    boxes = ([[3.0, 4, 40, 50]], [[10.0, 10, 60, 60]])
    targets = [{"boxes": torch.tensor(each), "labels": torch.tensor([1 + index])} for index, each in enumerate(boxes)]
    return [torch.rand(3, 70, 101), torch.rand(3, 97, 64)], targets


@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        ("timm/test_efficientnet", set()),
        ("timm/test_vit", set()),
        # Behind the pooling, so the backbone's own map does not depend on them either.
        ("timm/test_convnext", {"head.norm.weight", "head.norm.bias"}),
        ("timm/mobilenetv3_small_050", {"conv_head.weight", "conv_head.bias"}),
    ],
)
def test_a_step_trains_every_weight_that_the_maps_depend_on(name: str, frozen: set[str]) -> None:
    backbone, detector = build(name)
    backbone.requires_grad_(False)
    body = detector.backbone.body
    assert {key.removeprefix("network.") for key, p in body.named_parameters() if not p.requires_grad} == frozen
    assert all(module.training for module in detector.modules())
    norms = {key: m for key, m in detector.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {key: norm.running_mean.clone() for key, norm in norms.items()}
    losses = detector(*objects())
    sum(losses.values()).backward()
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert all((p.grad is not None) == p.requires_grad for p in detector.parameters())
    assert all(not torch.equal(norm.running_mean, before[key]) for key, norm in norms.items())


def test_no_norm_decays_whatever_its_type() -> None:
    _, detector = build("timm/test_convnext")
    without = next(group for group in make_optimizer(detector).param_groups if group["weight_decay"] == 0)
    decayed = {id(parameter) for parameter in without["params"]}
    types = (nn.BatchNorm2d, nn.LayerNorm)
    of_norms = [p for m in detector.modules() if isinstance(m, types) for p in m.parameters(recurse=False)]
    assert decayed == {id(parameter) for parameter in of_norms}
    assert any(isinstance(m, nn.LayerNorm) for m in detector.backbone.body.modules())


def test_a_transformers_only_map_feeds_the_simple_pyramid() -> None:
    backbone, detector = build("timm/test_vit", masks=True)
    pyramid = detector.eval().backbone
    assert isinstance(pyramid.fpn, SimplePyramid)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        [features] = pyramid.stages(pyramid.body, images)
        assert torch.equal(features, backbone(images))
        maps = pyramid(images)
        found = detector([torch.rand(3, 50, 75)])
    sides = {"0": (16, 24), "1": (8, 12), "2": (4, 6), "3": (2, 3), "pool": (1, 2)}
    assert {level: tuple(made.shape) for level, made in maps.items()} == {k: (2, 256, *v) for k, v in sides.items()}
    assert torch.equal(maps["pool"], maps["3"][:, :, ::2, ::2])
    assert found[0]["box_masks"].shape[1:] == (28, 28)
    assert match_weights(detector, backbone).absent == ()


@pytest.mark.parametrize("norm", [True, False])
def test_the_simple_pyramid_is_the_papers(norm: bool) -> None:
    """In float64 from the definition: each transposed convolution of 2 x 2 writes a block of its own."""
    torch.manual_seed(0)
    pyramid = SimplePyramid(8, 4, norm).double()
    x = torch.randn(2, 8, 4, 6, dtype=torch.float64)

    def doubled(x: Tensor, layer: nn.Module) -> Tensor:
        blocks = torch.einsum("bihw,iojk->bohjwk", x, layer.weight)
        return blocks.flatten(4, 5).flatten(2, 3) + layer.bias[:, None, None]

    def normalized(x: Tensor, layer: nn.Module) -> Tensor:
        centered = x - x.mean(1, keepdim=True)
        scaled = centered / (centered.square().mean(1, keepdim=True) + layer.eps).sqrt()
        return scaled * layer.weight[:, None, None] + layer.bias[:, None, None]

    def gelu(x: Tensor) -> Tensor:
        return x * (1 + torch.erf(x / 2**0.5)) / 2

    def convolved(x: Tensor, layers: list[nn.Module]) -> Tensor:
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                x = F.conv2d(x, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)
                assert (layer.bias is None) == norm
            else:
                x = normalized(x, layer)
        return x

    fine, double, same, half = ([*level] for level in pyramid.levels)
    expected = {
        "0": convolved(doubled(gelu(normalized(doubled(x, fine[0]), fine[1])), fine[3]), fine[4:]),
        "1": convolved(doubled(x, double[0]), double[1:]),
        "2": convolved(x, same),
        "3": convolved(x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5)), half[1:]),
    }
    assert len(same) == (4 if norm else 2)
    maps = pyramid({"0": x})
    for level, values in expected.items():
        torch.testing.assert_close(maps[level], values, rtol=1e-9, atol=1e-9)


def test_looking_for_stages_leaves_a_backbone_as_it_is() -> None:
    backbone = build_backbone("timm/test_efficientnet").train()
    backbone.network.blocks.eval()
    modes = [module.training for module in backbone.modules()]
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    find_stages(backbone)
    assert [module.training for module in backbone.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_bands_are_taken() -> None:
    backbone = build_backbone("timm/test_efficientnet", in_channels=5)
    detector = build_detector("fpn", backbone, **SMALL_DETECTOR).eval()
    with torch.no_grad():
        assert len(detector([torch.rand(5, 64, 64)])) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("timm/shvit_s1", "its feature maps have strides 16, 32"),
        ("timm/test_vit", "it takes images of 160 x 160 pixels only"),
        ("own", "it is neither a torchvision ResNet nor a network of timm"),
        ("timm/test_resnet", "it is neither a torchvision ResNet nor a network of timm"),
    ],
)
def test_other_networks_are_refused_in_one_line(name: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = wrap_backbone(nn.Conv2d(3, 8, 3), 16) if name == "own" else build_backbone(name)
    if name == "timm/test_vit":
        monkeypatch.setattr(backbone, "fixed_size", (160, 160))
    if name == "timm/test_resnet":
        monkeypatch.delattr(type(backbone.network), "forward_intermediates")
    with pytest.raises(
        UserError, match=f"^no feature pyramid can be built on .*: {reason}.*at strides 4, 8, 16 and 32"
    ):
        build_detector("fpn", backbone, **SMALL_DETECTOR)


def test_sides_that_a_network_does_not_take_are_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = build_backbone("timm/test_vit")
    monkeypatch.setattr(backbone.network.patch_embed, "patch_size", (14, 14))
    with pytest.raises(UserError, match=r"it does not take images of 96 x 160 pixels \(.*\(14\)\)\. It needs"):
        find_stages(backbone)
