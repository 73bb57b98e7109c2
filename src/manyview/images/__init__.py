"""Image files: listing, decoding, loading in worker processes."""

from __future__ import annotations

from manyview.images.bands import BandImage, open_image
from manyview.images.decode import EncodedImage, decode_image
from manyview.images.files import ImageFiles, find_images
from manyview.images.sources.root import ImagePath, ImageRoot, image_root
from manyview.images.unreadable import Unreadable, UnreadableImage

open_photograph = open_image
"""The former name of ``open_image``."""

__all__ = [
    "BandImage",
    "EncodedImage",
    "ImageFiles",
    "ImagePath",
    "ImageRoot",
    "Unreadable",
    "UnreadableImage",
    "decode_image",
    "find_images",
    "image_root",
    "open_image",
    "open_photograph",
]
