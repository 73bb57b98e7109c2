from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from manyview.backbones import build_backbone, load_backbone, wrap_backbone
from manyview.backbones import timm as timm_module
from manyview.backbones.blank import BlankWeights
from manyview.backbones.build import RESNETS, infer_resnet
from manyview.errors import UserError
from tests.helpers.checkpoint_files import network
from tests.helpers.checkpoint_files import timm as checkpoint_of_timm
from tests.helpers.narrow import narrowed


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))


def test_a_resnet_is_torchvisions_up_to_its_last_stage(images: torch.Tensor) -> None:
    theirs = models.resnet18(weights=None)
    ours = build_backbone("resnet18")
    missing, unexpected = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert missing == ["fc.weight", "fc.bias"]
    assert unexpected == []
    for training in (True, False):
        theirs.train(training)
        ours.train(training)
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        for stage in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
            x = stage(x)
        assert torch.equal(ours(images), x)
    assert ours.out_channels == x.shape[1] == 512
    assert x.shape[2:] == (1, 2)
    assert ours.name == "resnet18"


@pytest.mark.parametrize(
    ("name", "channels"),
    [("resnet34", 512), ("resnet50", 2048), ("wide_resnet50_2", 2048), ("resnext50_32x4d", 2048)],
)
def test_other_resnets_keep_torchvisions_names(name: str, channels: int) -> None:
    with BlankWeights(), torch.device("meta"):
        ours, theirs = build_backbone(name), models.get_model(name)
        assert ours.out_channels == channels
        assert [key for key in theirs.state_dict() if not key.startswith("fc.")] == list(ours.state_dict())


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("name", ["resnet18", "timm/test_resnet"])
@narrowed(4)
def test_residual_branches_start_at_zero_if_asked(name: str, zero: bool) -> None:
    backbone = build_backbone(name, zero_init_residual=zero)
    # The last norm of a branch: bn2 of a basic block, bn3 of a bottleneck.
    network = getattr(backbone, "network", backbone)
    norms = {key: value for key, value in network.named_parameters() if ".bn" in key and "weight" in key}
    last = {key.rsplit(".", 2)[0]: value for key, value in norms.items()}
    assert len(last) >= 4
    assert all(bool((value == (0 if zero else 1)).all()) for value in last.values())


@narrowed(4)
def test_default_is_a_zero_start() -> None:
    assert not build_backbone("resnet18").get_parameter("layer1.0.bn2.weight").any()


@narrowed(4)
def test_weights_are_pytorchs_random_ones() -> None:
    torch.manual_seed(5)
    first = build_backbone("resnet18").state_dict()
    torch.manual_seed(5)
    again = build_backbone("resnet18").state_dict()
    other = build_backbone("resnet18").state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize("prefix", ["", "timm/"])
def test_a_timm_network_is_timms(prefix: str) -> None:
    ours = build_backbone(prefix + "test_efficientnet").eval()
    theirs = timm.create_model("test_efficientnet", num_classes=0, global_pool="").eval()
    theirs.load_state_dict(ours.network.state_dict())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    features = ours(images)
    assert torch.equal(features, theirs.forward_features(images))
    assert ours.name == "timm/test_efficientnet"
    assert features.shape == (2, ours.out_channels, 2, 2)


def test_a_transformers_tokens_lie_where_their_patches_do() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("test_vit").eval()
    images = torch.randn(1, 3, 64, 96)
    features = backbone(images)
    assert features.shape == (1, backbone.out_channels, 4, 6)
    tokens = backbone.network.forward_features(images)[:, backbone.network.num_prefix_tokens :]
    assert torch.equal(features[0, :, 2, 5], tokens[0, 2 * 6 + 5])
    # Without its blocks only the patch itself, here in row 1, column 4, moves a token.
    backbone.network.blocks = nn.Identity()
    changed = images.clone()
    changed[..., 16:32, 64:80] += 1
    moved = (backbone(changed) - backbone(images)).abs().amax(1)[0] > 1e-6
    assert moved.nonzero().tolist() == [[1, 4]]


def test_channels_come_first_also_where_timm_puts_them_last() -> None:
    with BlankWeights(), torch.device("meta"):
        backbone = build_backbone("test_mambaout").eval()
        assert backbone.network.forward_features(torch.zeros(1, 3, 96, 64)).shape[1:3] == (3, 2)
        assert backbone(torch.zeros(1, 3, 96, 64)).shape == (1, backbone.out_channels, 3, 2)


@pytest.mark.parametrize("name", ["nf_resnet26", "legacy_seresnet18", "hrnet_w18_small"])
def test_timm_networks_without_a_zero_start_are_built(name: str) -> None:
    with BlankWeights(), torch.device("meta"):
        assert build_backbone(name).out_channels in (512, 2048)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("resnet5O", "resnet50"), ("resnet_18", "resnet18"), ("timm/test_vti", "test_vit")],
)
def test_an_unknown_name_suggests_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UserError, match=rf"unknown backbone '{name}'; did you mean .*\b{nearest}\b.*\?"):
        build_backbone(name)


def test_timm_networks_without_a_feature_map_are_refused() -> None:
    with pytest.raises(UserError, match="timm's crossvit_tiny_240 gives no single feature map"):
        build_backbone("crossvit_tiny_240")


def test_a_name_near_nothing_says_what_there_is() -> None:
    with pytest.raises(UserError, match=r"choose from resnet18, .* or a model of timm"):
        build_backbone("§§§§§§§§§§§§")


def own(channels: int = 5) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, channels, 3, stride=4), nn.BatchNorm2d(channels))


def test_a_module_of_ones_own_is_measured_and_left_as_it_was() -> None:
    module = own()
    module[1].eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    backbone = wrap_backbone(module, 32)
    assert backbone.out_channels == 5
    assert backbone.network is module
    assert module.training
    assert not module[1].training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(backbone.eval()(images), module(images))


def test_a_backbone_stays_what_it_is() -> None:
    backbone = build_backbone("timm/test_resnet")
    assert wrap_backbone(backbone, 32) is backbone


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            nn.Sequential(own(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            r"a tensor of shape \(2, 5\) .* must give a feature map",
        ),
        (nn.Conv2d(3, 4, 64), r"fails on images of shape \(2, 3, 32, 32\)"),
        (nn.LSTM(32, 4), "fails on images of shape"),
        (nn.Flatten(0, 1), r"gives a tensor of shape \(6, 32, 32\)"),
        (nn.MaxPool2d(2, return_indices=True), "gives a tuple"),
    ],
)
def test_what_is_no_backbone_is_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        wrap_backbone(module, 32)


@pytest.mark.parametrize("again", [False, True])
def test_every_trainable_parameter_of_a_timm_network_moves_its_map(again: bool) -> None:
    """Also of the second, for which nothing is run."""
    timm_module._FEATURES.clear()
    backbone = [build_backbone("test_convnext") for _ in range(1 + again)][-1]
    assert backbone.training
    frozen = [name for name, parameter in backbone.named_parameters() if not parameter.requires_grad]
    assert frozen
    assert all("head" in name for name in frozen)
    backbone(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters() if parameter.requires_grad)


def test_a_network_without_residual_norms_starts_the_same_either_way() -> None:
    """So that a recipe's ``zero_init_residual=false`` does for every network."""
    states = []
    for zero in (True, False):
        torch.manual_seed(0)
        states.append(build_backbone("test_vit", zero_init_residual=zero).state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_a_network_of_one_size_names_it() -> None:
    with BlankWeights(), torch.device("meta"):
        backbone = build_backbone("mixer_s32_224")
        with pytest.raises(UserError, match="takes only images of 224 x 224 pixels, not 64 x 64"):
            backbone(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "timm/test_resnet", "test_convnext", "test_vit"])
@narrowed(4)
def test_the_first_convolution_follows_the_channels(name: str) -> None:
    backbone = build_backbone(name, in_channels=5).eval()
    three = build_backbone(name).eval()

    first, weight = next((key, value) for key, value in backbone.state_dict().items() if value.ndim == 4)
    of_three = three.state_dict()
    assert weight.shape[1] == 5
    changed = [key for key, value in backbone.state_dict().items() if value.shape != of_three[key].shape]
    assert changed == [first]
    assert list(of_three) == list(backbone.state_dict())
    images = torch.randn(2, 5, 64, 64)
    features = backbone(images)
    assert features.shape == three(images[:, :3]).shape
    changed_band = images.clone()
    changed_band[:, 4] += 1
    assert not torch.allclose(backbone(changed_band), features)
    assert (backbone.in_channels, backbone.rgb) == (5, False)
    assert (backbone.mean, backbone.std) == ((0.0,) * 5, (1.0,) * 5)
    assert (three.in_channels, three.rgb) == (3, True)


def test_the_first_convolution_starts_by_the_same_law() -> None:
    """He's, over the outputs (fan_out), whatever comes in: deviation sqrt(2 / (64 x 7 x 7))."""
    torch.manual_seed(0)
    for channels in (3, 12):
        weight = build_backbone("resnet18", in_channels=channels).get_parameter("conv1.weight")
        assert weight.shape == (64, channels, 7, 7)
        assert weight.std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.03)
        assert abs(weight.mean().item()) < 0.001


def test_channels_that_timm_cannot_choose_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(name: str, pretrained: bool, num_classes: int, zero_init_last: bool) -> nn.Module:
        return nn.Conv2d(3, 4, 3)

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(UserError, match="timm's test_resnet takes images of 3 channels only, not of 5"):
        build_backbone("timm/test_resnet", in_channels=5)


def test_a_module_of_ones_own_is_tried_on_its_channels() -> None:
    module = nn.Conv2d(6, 4, 3)
    backbone = wrap_backbone(module, 16, in_channels=6)
    assert (backbone.in_channels, backbone.rgb, backbone.out_channels) == (6, False, 4)
    with pytest.raises(UserError, match=r"fails on images of shape \(2, 3, 16, 16\)"):
        wrap_backbone(module, 16)
    assert wrap_backbone(backbone, 16, in_channels=6) is backbone
    with pytest.raises(UserError, match="takes images of 6 channels, but these have 3; build it with in_channels=3"):
        wrap_backbone(backbone, 16)


def test_timms_networks_take_timms_checkpoints(tmp_path: Path) -> None:
    resnet = network("resnet18")
    file = tmp_path / "w.pth.tar"
    torch.save(checkpoint_of_timm(resnet.state_dict(), "resnet18"), file)
    images = torch.randn(1, 3, 64, 64)
    expected = nn.Sequential(*list(resnet.children())[:-2])(images)
    for name, built in (("timm/resnet18", "timm/resnet18"), (None, "resnet18")):
        backbone = load_backbone(file, name)
        torch.testing.assert_close(backbone(images), expected, rtol=1e-5, atol=1e-5)
        report = backbone.loading
        assert (report.network, report.inferred, report.convolutions) == (built, False, (20, 20))
        assert report.norms == (20, 20)
        assert report.dropped == {"the classifier": ("fc.weight", "fc.bias")}
    file.unlink()


@pytest.mark.parametrize("name", RESNETS)
def test_every_resnet_is_recognized_by_its_shapes(name: str) -> None:
    with BlankWeights(), torch.device("meta"):
        state = models.get_model(name, weights=None).state_dict()
    assert infer_resnet(state) == name
    del state["layer4.0.conv1.weight"]
    assert infer_resnet(state) == name
    half = {key: value for key, value in state.items() if "bn" not in key}
    assert infer_resnet(half) is None
