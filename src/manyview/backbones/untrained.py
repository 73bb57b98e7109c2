"""The baseline of every figure: the same network, before any training."""

from __future__ import annotations

import torch

from manyview.backbones.base import Backbone
from manyview.backbones.build import build_backbone

UNTRAINED = "as pre-training starts: the last norm of each residual branch at zero, where the network has such"


def untrained(like: Backbone, seed: int) -> Backbone:
    """A new backbone as pre-training starts with it, its weights depending on the seed alone, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_backbone(
            like.name, zero_init_residual=like.zero_init_residual, in_channels=like.in_channels
        ).eval()
    backbone.mean, backbone.std, backbone.rgb = like.mean, like.std, like.rgb
    return backbone
