"""Construction of backbones by name: torchvision's ResNets and timm's models; ResNets recognized and folded."""

from __future__ import annotations

import copy
import difflib
import functools
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from manyview.backbones.base import Backbone
from manyview.backbones.blank import BlankWeights
from manyview.backbones.timm import build_timm, is_timm_name, timm_names, timm_normalization
from manyview.config import IMAGENET_MEAN, IMAGENET_STD
from manyview.errors import UserError
from manyview.imports import import_lightly

RESNETS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
UNTRAINED = "as pre-training starts: the last norm of each residual branch at zero, where the network has such"
_UNTRAINED_AT_ONE = "as pre-training started: the last norm of each residual branch at one, as every other"

RESNET_MODULES = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
"""Modules of torchvision's ResNets up to the last feature map, in their order."""

_Shapes = frozenset[tuple[str, tuple[int, ...]]]


class ResNetBackbone(Backbone):
    """A torchvision ResNet up to ``layer4``: stride 32, no pooling, no classifier."""

    def __init__(self, name: str, resnet: nn.Module) -> None:
        classifier = resnet.fc
        assert isinstance(classifier, nn.Linear)
        super().__init__(name, classifier.in_features, classifier=("fc",))
        for module in RESNET_MODULES:
            self.add_module(module, resnet.get_submodule(module))

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels rows columns"]:
        """The output of ``layer4``."""
        return self.up_to(RESNET_MODULES[-1], x)

    def up_to(self, last: str, x: Tensor) -> Tensor:
        """The output of one of the modules, such as ``layer2``."""
        for module in RESNET_MODULES[: RESNET_MODULES.index(last) + 1]:
            x = self.get_submodule(module)(x)
        return x


def build_backbone(name: str, *, zero_init_residual: bool = True, in_channels: int = 3) -> Backbone:
    """Build a backbone with random initial weights from PyTorch's generator; nothing is downloaded.

    A bare name that torchvision and timm share is torchvision's; ``timm/NAME`` is timm's.

    Args:
        name: a torchvision ResNet, or any timm model that returns one feature map or one token for each patch.
        zero_init_residual: initialize the last norm of each residual branch to zero, as SimSiam does. A timm model
            without such an option, which has no such norms, is built with timm's default either way.
        in_channels: channels of the images; other than three are bands without color, which are not normalized until
            ``mean`` and ``std`` are set. The first convolution has that many, initialized from the same distribution.

    Returns:
        the backbone in training mode. Parameters that only a timm model's classifier would use are frozen, as they
        receive no gradient. A transformer takes images whose sides are multiples of its patches', with its position
        embeddings interpolated, or without ``dynamic_img_size`` images of its own size only.

    Raises:
        UserError: unknown name; a model without a single feature map; ``in_channels`` that timm's model does not
            support.
    """
    check_name(name)
    backbone: Backbone
    if name in RESNETS:
        backbone = ResNetBackbone(name, _resnet(name, zero_init_residual, in_channels))
    else:
        bare = name.removeprefix("timm/")
        backbone = build_timm(bare, zero_init_residual=zero_init_residual, in_channels=in_channels)
    backbone.zero_init_residual = zero_init_residual
    if in_channels != 3:
        backbone.take_bands(in_channels)
    return backbone


def untrained(like: Backbone, seed: int) -> Backbone:
    """A new backbone in eval mode, initialized as at the start of pre-training; it depends on the seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_backbone(
            like.name, zero_init_residual=like.zero_init_residual, in_channels=like.in_channels
        ).eval()
    backbone.take_images(like.mean, like.std, rgb=like.rgb)
    backbone.bit_depth = like.bit_depth
    return backbone


def usual_normalization(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation of RGB images by which a network's usual published weights normalize.

    Those of timm's own weights for a model of timm, else ImageNet's; None for a module of one's own.
    """
    if name.startswith("own:"):
        return None
    if name in RESNETS:
        return IMAGENET_MEAN, IMAGENET_STD
    return timm_normalization(name.removeprefix("timm/"))


def describe_untrained(like: Backbone) -> str:
    """The initialization of ``untrained`` in words, by the ``zero_init_residual`` that the weights record."""
    return UNTRAINED if like.zero_init_residual else _UNTRAINED_AT_ONE


def check_name(name: str) -> None:
    """Check that ``build_backbone`` knows the name.

    Raises:
        UserError: unknown name; the message suggests the nearest.
    """
    bare = name.removeprefix("timm/")
    if name in RESNETS or is_timm_name(bare.partition(".")[0]):
        return
    known = timm_names()
    close = difflib.get_close_matches(bare.lower(), sorted({*RESNETS, *known}), n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(RESNETS)}, or a model of timm"
    raise UserError(f"unknown backbone {name!r}; {hint}")


def infer_resnet(tensors: Mapping[str, Tensor]) -> str | None:
    """The ResNet that nearly all of these weights match; None if there is none.

    A weight too few or too many does not prevent recognition, so that errors can name it.
    """
    if not any(name.startswith("layer4.") for name in tensors):
        return None
    found = _shapes(tensors)
    agreement = {}
    for name in RESNETS:  # a network takes a fifth of a second to build
        known = _resnet_shapes(name)
        agreement[name] = len(found & known) / len(found | known)
        if agreement[name] >= 0.95:  # No two of them agree by 0.89 (Jaccard), so no other agrees as well.
            return name
    best = max(agreement, key=agreement.__getitem__)
    return best if agreement[best] >= 0.9 else None


def folded(backbone: Backbone) -> Backbone:
    """A copy of a torchvision ResNet with its norms folded into the convolutions; any other backbone unchanged.

    A ResNet within another backbone (``layers``) is folded, too.

    In eval mode a norm is a scale and a shift for each channel, which the preceding convolution can apply
    (``torch.nn.utils.fusion``). The features are the same up to rounding.

    Args:
        backbone: in eval mode, its norms with running statistics; it is not modified.
    """
    assert not backbone.training
    if not any(isinstance(module, ResNetBackbone) for module in backbone.modules()):
        return backbone
    copied = copy.deepcopy(backbone)
    [resnet] = (module for module in copied.modules() if isinstance(module, ResNetBackbone))
    for module in list(resnet.modules()):
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


def _resnet(name: str, zero_init_residual: bool, in_channels: int) -> nn.Module:
    import_lightly("torchvision.models")
    from torchvision.models import get_model

    resnet: nn.Module = get_model(name, weights=None, zero_init_residual=zero_init_residual)
    if in_channels != 3:
        width = resnet.get_parameter("conv1.weight").shape[0]
        resnet.conv1 = nn.Conv2d(in_channels, width, kernel_size=7, stride=2, padding=3, bias=False)
        # As torchvision initializes every convolution; fan_out does not depend on the input channels.
        nn.init.kaiming_normal_(resnet.conv1.weight, mode="fan_out", nonlinearity="relu")
    return resnet


@functools.cache
def resnet_names() -> tuple[str, ...]:
    """Names of the weights of all ResNets, without the classifier: those of the deepest, which has all others'."""
    import_lightly("torchvision.models")
    from torchvision.models import get_model

    with BlankWeights(), torch.device("meta"):
        return tuple(name for name in get_model("resnet152", weights=None).state_dict() if not name.startswith("fc."))


@functools.cache
def _resnet_shapes(name: str) -> _Shapes:
    import_lightly("torchvision.models")
    from torchvision.models import get_model

    with BlankWeights(), torch.device("meta"):  # Shapes only: no memory, no random numbers and not their meta kernels.
        return _shapes(get_model(name, weights=None).state_dict())


def _shapes(tensors: Mapping[str, Tensor]) -> _Shapes:
    """Names and shapes of the weights that distinguish networks."""
    return frozenset(
        (name, tuple(tensor.shape))
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked") and not name.startswith("fc.")
    )
