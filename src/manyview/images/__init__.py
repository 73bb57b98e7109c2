"""Pixels and labels in: decoding, lists of files, label readers, and synthetic scenes rendered by the package."""

from __future__ import annotations

from manyview.images.decoding import EncodedImage, decode_image, open_image
from manyview.images.labels import ImageLabels, read_labels
from manyview.images.listing import ImageFiles, find_images
from manyview.images.photographs import open_photograph
from manyview.images.problems import UnreadableImage
from manyview.images.scene_files import write_scenes
from manyview.images.synthetic import KINDS, render_scene

__all__ = [
    "KINDS",
    "EncodedImage",
    "ImageFiles",
    "ImageLabels",
    "UnreadableImage",
    "decode_image",
    "find_images",
    "open_image",
    "open_photograph",
    "read_labels",
    "render_scene",
    "write_scenes",
]
