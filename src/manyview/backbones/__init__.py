"""Photograph to feature map: networks by name, a module of one's own, and their weights in files."""

from manyview.backbones.base import Backbone
from manyview.backbones.named import build_backbone, check_name
from manyview.backbones.weights import load_backbone, save_backbone
from manyview.backbones.wrapped import wrap_backbone

__all__ = ["Backbone", "build_backbone", "check_name", "load_backbone", "save_backbone", "wrap_backbone"]
