"""Networks from torchvision and timm, and modules of one's own, as maps from photographs to features."""

from __future__ import annotations

import difflib
import re
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyview.errors import UserError

# Also the fully convolutional ones: a name with a slash or none of torchvision's goes to timm.
_RESNETS = re.compile(r"(wide_)?resnex?t\d+\w*")
_TIMM = "timm/"


class Backbone(nn.Module):
    """A network from images (batch, 3, height, width) to a feature map (batch, out_channels, h, w).

    Attributes:
        name: what ``build_backbone`` builds it from.
        out_channels: channels of the feature map.
    """

    name: str
    out_channels: int

    def bare(self) -> nn.Module:
        """The module whose parameter names are those of the library that the network comes from."""
        return self


class TorchvisionResNet(Backbone):
    """A torchvision ResNet without pooling and classifier, with torchvision's own parameter names."""

    def __init__(self, name: str, *, zero_init_residual: bool) -> None:
        super().__init__()
        from torchvision import models

        network = models.get_model(name, weights=None, zero_init_residual=zero_init_residual)
        self.name = name
        self.out_channels = network.fc.in_features
        for child, module in network.named_children():
            if child not in ("avgpool", "fc"):
                self.add_module(child, module)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch dim h w"]:
        """Feature map of the last stage, stride 32."""
        for module in self.children():
            x = module(x)
        return x


class TimmBackbone(Backbone):
    """A timm model without pooling and classifier; weights are kept under timm's own parameter names."""

    def __init__(self, name: str, *, zero_init_residual: bool) -> None:
        super().__init__()
        import timm

        options: dict[str, Any] = {"num_classes": 0, "global_pool": ""}
        try:
            self.model = timm.create_model(name, pretrained=False, zero_init_last=zero_init_residual, **options)
        except TypeError:  # A network without that option, whatever its family.
            self.model = timm.create_model(name, pretrained=False, **options)
        self.name = _TIMM + name
        self.out_channels = int(self.model.num_features)

    def bare(self) -> nn.Module:
        """The module that timm made."""
        return self.model

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch dim h w"]:
        """What ``forward_features`` gives, as a map; a transformer's patch tokens are laid out on their grid."""
        features: Tensor = self.model.forward_features(x)
        if features.ndim == 3:
            tokens = features[:, getattr(self.model, "num_prefix_tokens", 0) :]
            rows, columns = self.model.patch_embed.grid_size
            return tokens.transpose(1, 2).unflatten(2, (rows, columns))
        if features.shape[1] != self.out_channels and features.shape[-1] == self.out_channels:
            return features.permute(0, 3, 1, 2)
        return features


class OwnBackbone(Backbone):
    """A module of the user's own."""

    def __init__(self, module: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.module = module
        self.name = f"own:{type(module).__module__}.{type(module).__qualname__}"
        self.out_channels = out_channels

    def bare(self) -> nn.Module:
        """The user's module."""
        return self.module

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch dim h w"]:
        """What the module makes of the images."""
        features: Tensor = self.module(x)
        return features


def build_backbone(name: str, *, zero_init_residual: bool = True) -> Backbone:
    """A new network by name, with random weights from PyTorch's generator; nothing is downloaded.

    Args:
        name: a torchvision ResNet (``resnet18``, ``resnext50_32x4d``, ``wide_resnet50_2``, ...) or a timm model, with
            or without ``timm/`` before it.
        zero_init_residual: start the last norm of each residual branch at zero, where the network has such.

    Raises:
        UserError: there is no such network; the message names the nearest.
    """
    if name in _torchvision_names():
        return TorchvisionResNet(name, zero_init_residual=zero_init_residual)
    import timm

    bare = name.removeprefix(_TIMM)
    if timm.is_model(bare):
        try:
            return TimmBackbone(bare, zero_init_residual=zero_init_residual)
        except (TypeError, RuntimeError, NotImplementedError) as error:
            raise UserError(f"timm's {bare} cannot be built without its classifier: {error}; choose another") from error
    known = sorted({*_torchvision_names(), *timm.list_models()})
    close = difflib.get_close_matches(bare, known, n=3, cutoff=0.5)
    nearest = f"; did you mean {' or '.join(close)}?" if close else "; choose a torchvision ResNet or any timm model"
    raise UserError(f"unknown backbone {name!r}{nearest}")


def wrap_backbone(module: nn.Module, size: int) -> Backbone:
    """Take a module of the user's own as a backbone, after trying it on two images of zeros.

    Args:
        module: images (batch, 3, size, size) to a feature map (batch, dim, h, w).
        size: side of the views in pixels.

    Raises:
        UserError: it fails on such images, or its output is no feature map.
    """
    if isinstance(module, Backbone):
        return module
    training = module.training
    parameter = next(module.parameters(), torch.empty(0))
    images = torch.zeros(2, 3, size, size, device=parameter.device, dtype=parameter.dtype)
    try:
        with torch.no_grad():
            features = module.eval()(images)
    except Exception as error:
        raise UserError(
            f"the backbone {type(module).__name__} fails on images of shape (2, 3, {size}, {size}): {error}"
        ) from error
    finally:
        module.train(training)
    if not isinstance(features, Tensor) or features.ndim != 4 or len(features) != 2:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise UserError(
            f"the backbone {type(module).__name__} must give a feature map (batch, dim, h, w), but gives {shape}; "
            "leave out its pooling and classifier"
        )
    return OwnBackbone(module, features.shape[1])


def _torchvision_names() -> list[str]:
    from torchvision import models

    return [name for name in models.list_models(module=models) if _RESNETS.fullmatch(name)]
