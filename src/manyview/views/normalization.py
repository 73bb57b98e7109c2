"""From pixels to what a network takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, UInt8, UInt16
from torch import Tensor

_WHITE = {torch.uint8: 255, torch.uint16: 65535}


def normalize(
    pixels: UInt8[Tensor, "*batch channels height width"] | UInt16[Tensor, "*batch channels height width"],
    mean: Sequence[float],
    std: Sequence[float],
) -> Float32[Tensor, "*batch channels height width"]:
    """(x / white - mean) / std by channel, float32, on the device that holds the pixels.

    Args:
        pixels: 8 or 16 bits, of which 255 or 65535 is white.
        mean: one number a channel, as shares of white.
        std: likewise, above 0.

    Returns:
        New memory; within 1e-6 of the exact value for the usual mean and std.
    """
    white = _WHITE[pixels.dtype]
    # They stay on the host: single numbers reach any device with the operation, where a copy would wait for it.
    shifts = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])
    normalized = _to_float(pixels)
    # A channel at a time: only where both are single numbers is x * scale + shift one fast loop on a CPU.
    for channel, shift, deviation in zip(normalized.unbind(-3), shifts.unbind(), std, strict=True):
        torch.add(shift, channel, alpha=1 / (white * deviation), out=channel)
    return normalized


def normalize_channels_last(
    pixels: UInt8[Tensor, "batch channels height width"] | UInt16[Tensor, "batch channels height width"],
    mean: Sequence[float],
    std: Sequence[float],
) -> Float32[Tensor, "batch channels height width"]:
    """The same as ``normalize``, laid out in memory with the channels last, as convolutions prefer.

    On a CPU it takes half the time of ``normalize`` and a change of layout.
    """
    if pixels.device.type != "cpu":
        return normalize(pixels, mean, std).contiguous(memory_format=torch.channels_last)
    images, channels, height, width = pixels.shape
    white = _WHITE[pixels.dtype]
    scale = torch.tensor([1 / (white * deviation) for deviation in std]).repeat(width)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).repeat(width)
    rows = pixels.permute(0, 2, 3, 1).contiguous().view(images, height, width * channels)
    normalized = torch.from_numpy(np.empty(tuple(rows.shape), dtype=np.float32))
    # An image at a time, so that its second pass finds it in the cache.
    for image, source in zip(normalized.unbind(), rows.unbind(), strict=True):
        torch.addcmul(shift, image.copy_(source), scale, out=image)
    return normalized.view(images, height, width, channels).permute(0, 3, 1, 2)


def _to_float(pixels: Tensor) -> Tensor:
    if pixels.device.type != "cpu":
        return pixels.float()
    # NumPy asks the system for huge pages, PyTorch does not: taking small ones takes longer than all the arithmetic.
    return torch.from_numpy(np.empty(tuple(pixels.shape), dtype=np.float32)).copy_(pixels)
