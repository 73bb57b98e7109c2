"""Building of a run's backbone and method from its settled configuration, initialized from the run's seed."""

from __future__ import annotations

import copy

import torch
from torch import nn

from manyview import methods
from manyview.backbones import Backbone, build_backbone, wrap_backbone
from manyview.backbones.build import check_name
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.methods import Method
from manyview.training.settle import Hardware
from manyview.training.targets import Targets


def check_backbone(config: PretrainConfig, module: nn.Module | None) -> None:
    """Reject a backbone that cannot be built, before anything is measured."""
    name = config.backbone.name
    if module is None and name.startswith("own:"):
        raise UserError(
            f"the backbone is {name.removeprefix('own:')}, a module of your own: "
            "call manyview.pretrain(..., backbone=module) from Python"
        )
    if module is None:
        check_name(name)
    else:
        wrap_backbone(module, config.views.layout[0].size, config.data.channels)


def build_backbone_of(config: PretrainConfig, module: nn.Module | None = None) -> Backbone:
    """Build the backbone of a settled configuration, initialized from the run's seed.

    Args:
        config: settled configuration.
        module: custom backbone instead of a named one, which is wrapped as it is.

    Raises:
        UserError: a patch projection is to be frozen that the network does not have.
    """
    torch.manual_seed(config.training.seed)
    options, channels = config.backbone, config.data.channels
    if module is not None:
        backbone = wrap_backbone(module, config.views.layout[0].size, channels)
    else:
        backbone = build_backbone(options.name, zero_init_residual=options.zero_init_residual, in_channels=channels)
    if options.freeze_patch_projection:
        _freeze_patch_projection(backbone)
    return backbone


def _freeze_patch_projection(backbone: Backbone) -> None:
    """Leave the patch projection as it is, which keeps the training of transformers stable (arXiv 2104.02057, 4.2).

    Raises:
        UserError: the network has none.
    """
    if backbone.patch_projection is None:
        raise UserError(
            f"backbone.freeze_patch_projection is for vision transformers, but {backbone.name} has no patch_embed.proj;"
            " leave it out"
        )
    backbone.patch_projection.requires_grad_(False)


def build_method(
    backbone: Backbone, config: PretrainConfig, hardware: Hardware, targets: Targets | None = None
) -> Method:
    """Build the method of a settled configuration around a backbone, on the device, with the labels of the run."""
    views = config.views
    assert views.mean is not None, "settle() fills it in"
    assert views.std is not None, "settle() fills it in"
    backbone.take_images(views.mean, views.std, rgb=config.data.bands == "rgb")
    backbone.bit_depth = config.data.bit_depth
    method = methods.build_method(backbone, config)
    if hardware.processes > 1:
        method.synchronize_norms()
    method.to(device=hardware.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if targets is not None:
        method.take_targets(targets.values.to(hardware.device))
    if config.training.compile:
        method.backbone.compile()
    return method


def build_trial(
    config: PretrainConfig, *, module: nn.Module | None, hardware: Hardware, targets: Targets | None = None
) -> Method:
    """Build a method for measurements; a custom backbone is copied."""
    return build_method(build_backbone_of(config, copy.deepcopy(module)), config, hardware, targets)
