"""RoIAlign with the half-pixel offset and adaptive sampling (arXiv 1703.06870, Section 3, as Detectron2 has it).

A cell of an RoI is the mean of bilinear samples, so it is a weighted sum of the map's vectors. On a CPU it is computed
as such, by PyTorch's ``embedding_bag``, on all cores and with a vector's channels side by side in memory; torchvision's
operator uses one core (``benchmarks.detection.loop``).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torchvision import ops

from manyview.precision import at_least_float32

ROIS_AT_ONCE = 256  # weights of some 2.5 million vectors where RoIs are large

Summands = tuple[Int[Tensor, " chosen"], Float[Tensor, " chosen"], Int[Tensor, " cells"]]


def roi_align(
    features: Float[Tensor, "batch channels height width"], rois: Float[Tensor, "rois 5"], size: int, scale: float
) -> Float[Tensor, "rois channels {size} {size}"]:
    """Pooled features of RoIs, in the maps' dtype.

    Args:
        features: maps of a batch.
        rois: index of the image in the batch, then x0, y0, x1, y1 in pixels of the images.
        size: rows and columns of the output for an RoI.
        scale: pixels of a map for one of an image, such as 1/16.
    """
    if features.device.type != "cpu" or len(rois) == 0:
        pooled: Tensor = ops.roi_align(features, rois, size, scale, sampling_ratio=0, aligned=True)
        return pooled
    precise = at_least_float32(features)
    parts = [_summands(some, precise, size, scale) for some in rois.to(precise.dtype).split(ROIS_AT_ONCE)]
    vectors, weights, counts = (torch.cat(each) for each in zip(*parts, strict=True))
    sums = F.embedding_bag(
        vectors,
        precise.permute(0, 2, 3, 1).flatten(0, 2),
        counts.cumsum(0) - counts,
        mode="sum",
        per_sample_weights=weights,
    )
    return sums.unflatten(0, (len(rois), size, size)).permute(0, 3, 1, 2).contiguous().to(features.dtype)


def _summands(rois: Float[Tensor, "rois 5"], features: Tensor, size: int, scale: float) -> Summands:
    """Indices of the vectors that make up each cell, row by row, their weights, and how many they are."""
    height, width = features.shape[2:]
    corners = rois[:, 1:] * scale - 0.5
    x, of_x = _along_axis(corners[:, 0], corners[:, 2], size, width)
    y, of_y = _along_axis(corners[:, 1], corners[:, 3], size, height)
    image = rois[:, 0].long()[:, None, None, None, None]
    vectors = ((image * height + y[:, :, None, :, None]) * width + x[:, None, :, None, :]).flatten(0, 2).flatten(1)
    weights = (of_y[:, :, None, :, None] * of_x[:, None, :, None, :]).flatten(0, 2).flatten(1)
    chosen = weights != 0
    return vectors[chosen], weights[chosen], chosen.sum(dim=1)


def _along_axis(
    start: Float[Tensor, " rois"], end: Float[Tensor, " rois"], size: int, length: int
) -> tuple[Int[Tensor, "rois {size} positions"], Float[Tensor, "rois {size} positions"]]:
    """Positions on an axis of a map between which a cell's samples lie, and weights: 0 beyond the map's end."""
    cell = (end - start)[:, None, None] / size
    samples = cell.ceil()  # as many as positions that a cell covers, at least in part
    number = torch.arange(max(int(samples.max()), 1))
    at = start[:, None, None] + cell * (torch.arange(size)[:, None] + (number + 0.5) / samples.clamp(min=1))
    counted = (number < samples) & (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    positions = at[..., :1].floor() + torch.arange(len(number) + 1)
    shares = (1 - (at[..., None, :] - positions[..., None]).abs()).clamp(min=0)  # bilinear interpolation's
    weights = (shares * counted[..., None, :]).sum(dim=-1) / samples.clamp(min=1)
    return positions.long(), weights
