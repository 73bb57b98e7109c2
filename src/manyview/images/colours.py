"""Pillow's images of any mode as 8-bit RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

from manyview.images.unreadable import UnreadableImage

_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF tags
_WHITE_IS_ZERO = 0  # a value of the latter


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any of Pillow's modes as RGB; the very image if it is RGB.

    Transparent pixels are laid over white; more than 8 bits are scaled, as ``decode_image`` says.

    Raises:
        UnreadableImage: its colours are in LAB, or its white is unknown.
    """
    if image.mode == "LAB":
        raise UnreadableImage("colours in LAB, which are not supported")
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = _grey_to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_to_8_bits(image: Image.Image) -> Image.Image:
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        top = 1 if high <= 1 else 255
    else:
        top = 4095 if tags.get(_BITS_PER_SAMPLE) == (12,) else 65535
    if not (low >= 0 and high <= top):  # "not", so that NaN is refused too
        raise UnreadableImage(f"pixel values from {low:g} to {high:g}, whose white is unknown")
    shares = values / np.float32(top)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # which Pillow heeds for 8 bits only
        shares = 1 - shares
    return Image.fromarray((shares * 255 + 0.5).astype(np.uint8))
