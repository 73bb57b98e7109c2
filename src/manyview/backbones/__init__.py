"""Backbones, from image to feature map: networks by name, custom modules, and their weights in files."""

from manyview.backbones.base import Backbone
from manyview.backbones.build import build_backbone, check_name
from manyview.backbones.checkpoint import EncoderCheckpoint, find_weights, read_checkpoint
from manyview.backbones.report import LoadingReport
from manyview.backbones.weights import load_backbone, network_of, save_backbone
from manyview.backbones.wrapped import wrap_backbone

__all__ = [
    "Backbone",
    "EncoderCheckpoint",
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
