"""Custom modules as backbones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyview.backbones.base import Backbone, WrappedBackbone
from manyview.errors import UserError


class OwnBackbone(WrappedBackbone):
    """A backbone made of any module from images to a feature map."""

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels rows columns"]:
        """The module's output."""
        feature_map: Tensor = self.network(x)
        return feature_map


def wrap_backbone(module: nn.Module, image_size: int, in_channels: int = 3) -> Backbone:
    """Wrap a custom module as a backbone, after a test on two blank images.

    Args:
        module: images (B, C, S, S) to a feature map (B, D, h, w). It is neither copied nor modified.
            Parameters that do not affect its output are best frozen or removed: training on several processes
            waits for their gradients.
        image_size: S, the side in pixels of the test images.
        in_channels: C; other than three are bands without color, as in ``build_backbone``.

    Raises:
        UserError: the module fails on such images, or does not return a floating-point feature map; or it is a
            backbone for images with another number of channels.
    """
    if isinstance(module, Backbone):
        if module.in_channels != in_channels:
            raise UserError(
                f"backbone {module.name} takes images of {module.in_channels} channels, but these have {in_channels}; "
                f"build it with in_channels={in_channels}"
            )
        return module
    name = f"own:{type(module).__module__}.{type(module).__qualname__}"
    features = _try(module, name, (2, in_channels, image_size, image_size))
    what = (
        f"a tensor of shape {tuple(features.shape)}" if isinstance(features, Tensor) else f"a {type(features).__name__}"
    )
    if not isinstance(features, Tensor) or features.ndim != 4 or not features.is_floating_point() or len(features) != 2:
        raise UserError(
            f"backbone {name} gives {what} for two images of {image_size} x {image_size} pixels, but must give a "
            "feature map (2, channels, rows, columns); remove its pooling and classifier"
        )
    backbone = OwnBackbone(name, features.shape[1], module)
    if in_channels != 3:
        backbone.take_bands(in_channels)
    return backbone


def _try(module: nn.Module, name: str, shape: tuple[int, int, int, int]) -> object:
    """The output for blank images of a shape, in eval mode so that no running statistics change."""
    first = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    images = torch.zeros(shape, dtype=first.dtype, device=first.device)
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            result: object = module(images)
    except Exception as error:
        raise UserError(
            f"backbone {name} fails on images of shape {tuple(images.shape)}: {type(error).__name__}: {error}"
        ) from error
    finally:
        for part, training in modes:
            part.training = training
    return result
