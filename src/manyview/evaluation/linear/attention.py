"""A linear head on attention pooling that is learned with it, and the feature maps it needs."""

from __future__ import annotations

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from manyview.errors import UserError
from manyview.evaluation.features.backbone import FrozenBackbone, bands
from manyview.pooling import attention_pool, query_count
from manyview.runtime import resolve_device

MOST_BYTES = 4 * 2**30
"""Main memory that the feature maps of all images may take."""


class AttentiveHead(nn.Linear):
    """Attention pooling (``pooling.attention_pool``), then a linear layer; from feature maps to logits.

    The queries are zero, so that before training it is the linear layer on average-pooled features.

    Args:
        dim: channels of the maps.
        classes: number of logits.
        device: of the parameters.
    """

    def __init__(self, dim: int, classes: int, device: str = "cpu") -> None:
        super().__init__(dim, classes, device=device)
        self.queries = nn.Parameter(torch.zeros(query_count(dim), dim, device=device))

    def forward(self, maps: Float32[Tensor, "images dim rows columns"]) -> Float32[Tensor, "images classes"]:
        """Logits of feature maps."""
        return super().forward(attention_pool(maps, self.queries))


def check_memory(network: nn.Module, images: int, size: int, device: str, most: int = MOST_BYTES) -> None:
    """Refuse feature maps that would not fit in main memory.

    Args:
        network: the backbone, which moves to the device.
        images: number of images whose maps are kept together.
        size: side of the images in pixels.
        device: as given by a user.
        most: bytes that they may take.

    Raises:
        UserError: they take more; or the backbone fails on images of this size.
    """
    channels = 3 if bands(network) == "rgb" else int(bands(network))
    blank = torch.zeros(1, channels, size, size, dtype=torch.uint8)
    maps = FrozenBackbone(network, resolve_device(device))(blank)
    needed = images * maps.numel() * maps.element_size()
    if needed > most:
        shape = " x ".join(map(str, maps.shape[1:]))
        raise UserError(
            f"--cached with --pool attention keeps the feature maps of all images in memory, and {images:,} of {shape} "
            f"numbers take {needed / 2**30:.1f} GiB, more than {most / 2**30:.3g}: leave out --cached, or choose a "
            "smaller --size"
        )
