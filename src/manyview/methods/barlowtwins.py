"""Barlow Twins: redundancy reduction (arXiv 2103.03230).

The cross-correlation matrix of the two sides of the pairs of a batch is to be the identity:

    L = sum_i (1 - C_ii)^2 + lambda sum_i sum_{j != i} C_ij^2                     (Eq. 1)
    C_ij = sum_b zA_bi zB_bj / (sqrt(sum_b zA_bi^2) sqrt(sum_b zB_bj^2))          (Eq. 2, z centered over the batch)

The sums are over the rows of all processes. As in the released code, 1e-5 is added to the variances, and the loss is
multiplied by a factor, which makes the learning rates of biases and norms differ from those of weights under LARS (see
the recipe ``barlowtwins``); beside the image-aware loss it is the weight of this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from manyview.backbones import Backbone
from manyview.config import ImageAwareConfig
from manyview.config.methods import BarlowTwinsConfig
from manyview.distributed import gather
from manyview.heads import Projector
from manyview.methods.base import Method, MethodBatch
from manyview.methods.image_aware_term import add_image_aware
from manyview.methods.pairs import off_diagonal, project_pairs
from manyview.precision import at_least_float32

_EPSILON = 1e-5  # that of nn.BatchNorm1d, by which the released code normalizes


class BarlowTwins(Method):
    """Backbone and projector, and the cross-correlation of the pairs of the batches of all processes.

    Views 2k and 2k+1 of a group are its k-th pair; several pairs of an image, as of blocks, are so many rows.

    Args:
        backbone: from images to feature maps.
        options: widths, lambda and factor.
        image_aware: the image-aware loss of the projections, and its weight.
    """

    section = BarlowTwinsConfig
    parts: ClassVar[Mapping[str, str]] = {"backbone": "backbone", "projector": "projector"}

    def __init__(self, backbone: Backbone, options: BarlowTwinsConfig, image_aware: ImageAwareConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.options = options
        self.image_aware = image_aware
        # As in the released code; the loss normalizes over the rows of all processes, whatever this norm sees.
        self.projector = Projector(backbone.out_channels, options.dim, options.hidden_dim)

    def forward(self, batch: MethodBatch) -> dict[str, Tensor]:
        """Compute the loss of one batch.

        Returns:
            ``loss`` (Eq. 1 times ``method.scale``), ``on_diagonal`` and ``off_diagonal`` (its two sums, without
            factors), ``barlow_twins`` and ``image_aware`` where the image-aware loss is added, float32 scalars, and
            ``z`` (pairs, dim), the projections of the first views, detached.
        """
        z1, z2 = project_pairs(self.backbone, self.projector, batch.groups)
        with torch.autocast(z1.device.type, enabled=False):
            z1, z2 = map(at_least_float32, (z1, z2))
            correlations = cross_correlation(gather(z1), gather(z2))
            on = (correlations.diagonal() - 1).square().sum()
            off = off_diagonal(correlations)
            loss = self.options.scale * (on + self.options.off_diagonal * off)
        result = {"loss": loss, "on_diagonal": on.detach(), "off_diagonal": off.detach(), "z": z1.detach()}
        return add_image_aware(result, "barlow_twins", self.image_aware, (z1, z1), (z2, z2), batch)


def cross_correlation(first: Float[Tensor, "rows dim"], second: Float[Tensor, "rows dim"]) -> Float[Tensor, "dim dim"]:
    """Correlation over the batch of each dimension of the first vectors with each of the second (Eq. 2)."""
    return _standardized(first).T @ _standardized(second) / len(first)


def _standardized(z: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
    variance, mean = torch.var_mean(z, dim=0, correction=0)
    return (z - mean) / (variance + _EPSILON).sqrt()
