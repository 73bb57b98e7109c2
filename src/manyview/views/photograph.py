"""What people hand over as a photograph, as an array of pixels."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image
from torch import Tensor

from manyview.errors import UserError
from manyview.images.decode import to_rgb
from manyview.images.unreadable import UnreadableImage

Photograph = Image.Image | np.ndarray | Tensor | bytes
Pixels = UInt8[np.ndarray, "height width bands"] | UInt16[np.ndarray, "height width bands"]


def pillow_pixels(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    """A Pillow image's pixels in RGB; what is transparent lies over white, and more than 8 bits are scaled.

    Raises:
        UserError: If its colours cannot be told, as those of 32 bits without a known white.
    """
    try:
        return np.asarray(to_rgb(image))
    except UnreadableImage as error:
        raise UserError(f"BlockViews cannot take this Pillow image of mode {image.mode!r}: {error.reason}") from None


def array_pixels(photograph: Photograph, bands: int | None) -> Pixels:
    """An array's pixels, or a tensor's with the bands moved last.

    Args:
        photograph: Array (height, width, bands) or tensor (bands, height, width).
        bands: Their number, of 8 or 16 bits; None for RGB of 8 bits.

    Raises:
        UserError: If it is something else, or has another shape or type.
    """
    if isinstance(photograph, Tensor):
        dtype, place = str(photograph.dtype).removeprefix("torch."), 0
    elif isinstance(photograph, np.ndarray):
        dtype, place = photograph.dtype.name, -1
    else:
        kinds = "arrays and tensors, if bands are given" if bands else "Pillow images, arrays, tensors, encoded bytes"
        raise UserError(f"BlockViews takes {kinds}, not {type(photograph).__name__}")
    dtypes, count = (("uint8",), 3) if bands is None else (("uint8", "uint16"), bands)
    shape = tuple(photograph.shape)
    if dtype not in dtypes or len(shape) != 3 or shape[place] != count or 0 in shape:
        kinds = " or ".join(dtypes)
        raise UserError(
            f"BlockViews takes {kinds} arrays (height, width, {count}) and {kinds} tensors ({count}, height, width), "
            f"not {photograph.dtype} {shape}"
            + ("; for other bands or 16 bits give their number, as in bands=4" if bands is None else "")
        )
    if isinstance(photograph, Tensor):
        photograph = photograph.detach().cpu().movedim(0, -1).numpy()
    return np.ascontiguousarray(photograph, dtype=dtype)
