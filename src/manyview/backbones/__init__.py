"""Image to feature map: networks by name, a module of one's own, and their weights in files."""

from manyview.backbones.base import Backbone
from manyview.backbones.build import build_backbone, check_name
from manyview.backbones.checkpoint import Checkpoint, find_weights, read_checkpoint
from manyview.backbones.report import LoadingReport
from manyview.backbones.weights import load_backbone, network_of, save_backbone
from manyview.backbones.wrapped import wrap_backbone

__all__ = [
    "Backbone",
    "Checkpoint",
    "LoadingReport",
    "build_backbone",
    "check_name",
    "find_weights",
    "load_backbone",
    "network_of",
    "read_checkpoint",
    "save_backbone",
    "wrap_backbone",
]
