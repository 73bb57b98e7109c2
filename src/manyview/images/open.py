"""An image of whatever kind the configuration says."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from manyview.images.bands import BandImage, open_bands
from manyview.images.decode import EncodedImage, open_image


def open_photograph(
    source: bytes | Path, bands: Literal["rgb"] | int = "rgb", *, max_pixels: int = 200_000_000
) -> EncodedImage | BandImage:
    """Read an image's size; its ``decode`` gives the pixels.

    Args:
        source: encoded bytes, or the file that holds them.
        bands: "rgb" for whatever converts to 8-bit RGB, or the number of bands that the file must hold.
        max_pixels: a larger one is refused before anything is decoded.

    Raises:
        UnreadableImage: there is no such image in the source; ``.reason`` says why.
    """
    if bands == "rgb":
        return open_image(source, max_pixels=max_pixels)
    return open_bands(source, bands, max_pixels=max_pixels)
