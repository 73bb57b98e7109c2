"""Pixels in: lists of files, decoding, loading."""

from __future__ import annotations

from manyview.images.decode import EncodedImage, decode_image, open_image
from manyview.images.files import ImageFiles, find_images
from manyview.images.open import open_photograph
from manyview.images.unreadable import Unreadable, UnreadableImage

__all__ = [
    "EncodedImage",
    "ImageFiles",
    "Unreadable",
    "UnreadableImage",
    "decode_image",
    "find_images",
    "open_image",
    "open_photograph",
]
