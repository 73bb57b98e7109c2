"""Photograph to feature map: networks by name, and their weights."""

from manyview.backbones.loading import load_backbone, save_backbone
from manyview.backbones.networks import Backbone, build_backbone, wrap_backbone

__all__ = ["Backbone", "build_backbone", "load_backbone", "save_backbone", "wrap_backbone"]
