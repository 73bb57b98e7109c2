"""Scaling of samples to 8 or 16 bits, also of files whose 16 bits hold fewer."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16

from manyview.errors import require
from manyview.images.unreadable import UnreadableImage

FEWEST_BITS, MOST_BITS = 9, 15

Samples = Shaped[np.ndarray, "height width *samples"]


def require_bit_depth(bits: object) -> None:
    """Check a number of bits that the samples of 16-bit files use.

    Raises:
        UserError: it is no integer from 9 to 15.
    """
    require(
        isinstance(bits, int) and FEWEST_BITS <= bits <= MOST_BITS,
        f"bit_depth must be a whole number from {FEWEST_BITS} to {MOST_BITS}, not {bits!r}: the bits that the values "
        "of 16-bit files use; leave it out for files of 8 bits and of full 16 bits",
    )


def to_8_bits(
    values: Samples, *, bits: int = 16, inverted: bool = False, bit_depth: int | None = None
) -> UInt8[np.ndarray, "height width *samples"]:
    """Scale values to 8 bits, rounded, but 16-bit color by its high byte, as Pillow does; bilevel to 0 and 255.

    Args:
        values: floating-point ones must lie within 0 to 1, or else within 0 to 255, integers below 2 to ``bits``.
        bits: of integers of more than 8 bits.
        inverted: whether 0 is white.
        bit_depth: bits that the values of 16-bit integers use, of which the largest is then white, as is all above.

    Raises:
        UnreadableImage: others, whose white is unknown.
    """
    if values.dtype == bool:
        values = values * np.uint8(255)
    if values.dtype == np.uint8:
        return ~values if inverted else values
    if bit_depth is not None and is_deep(values.dtype):
        scaled = _table(bit_depth, 255)[_unsigned(values)].astype(np.uint8)
        return ~scaled if inverted else scaled
    if values.dtype == np.uint16 and values.shape[2:] == (3,):
        return (values >> 8).astype(np.uint8)
    if values.dtype == np.int8:
        raise UnreadableImage("signed values of 8 bits, whose white is unknown")
    low, high = values.min(), values.max()
    top = 2**bits - 1 if values.dtype.kind != "f" else 1 if high <= 1 else 255
    if not (low >= 0 and high <= top):  # "not", so that NaN is refused too
        raise UnreadableImage(f"pixel values from {low:g} to {high:g}, whose white is unknown")
    shares = values / np.float32(top)
    return ((1 - shares if inverted else shares) * 255 + 0.5).astype(np.uint8)


def to_16_bits(values: UInt16[np.ndarray, "*shape"], bit_depth: int) -> UInt16[np.ndarray, "*shape"]:
    """Scale values that use only some of 16 bits to all of them, rounded; what is above becomes white."""
    return _table(bit_depth, 65535)[_unsigned(values)]


def without_alpha(values: Samples) -> Shaped[np.ndarray, "height width colors"]:
    """Gray (height, width, 1) or RGB (height, width, 3) of values that may have alpha as their last sample."""
    return values[..., : 3 if values.shape[2] > 2 else 1]


def is_deep(dtype: np.dtype) -> bool:
    """Whether these are integers of 16 bits."""
    return dtype.kind in "iu" and dtype.itemsize == 2


@cache
def _table(bit_depth: int, white: int) -> UInt16[np.ndarray, " 65536"]:
    """The scaled value of each value of 16 bits. In integers, so that it is rounded exactly."""
    top = 2**bit_depth - 1
    values = np.minimum(np.arange(65536, dtype=np.int64), top)
    return ((2 * white * values + top) // (2 * top)).astype(np.uint16)


def _unsigned(values: Samples) -> Samples:
    if values.dtype.kind == "i" and values.min() < 0:
        raise UnreadableImage(f"pixel values from {values.min():g} to {values.max():g}, whose white is unknown")
    return values.astype(np.uint16)  # also in this machine's byte order
