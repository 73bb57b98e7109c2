"""Pixels and labels in: decoding, lists of files, label readers, and synthetic scenes rendered by the package."""

from __future__ import annotations

from manyview.images.decoding import UnreadableImage, decode_image
from manyview.images.labels import ImageLabels, read_labels
from manyview.images.listing import ImageFiles, find_images
from manyview.images.synthetic import KINDS, render_scene, write_scenes

__all__ = [
    "KINDS",
    "ImageFiles",
    "ImageLabels",
    "UnreadableImage",
    "decode_image",
    "find_images",
    "read_labels",
    "render_scene",
    "write_scenes",
]
