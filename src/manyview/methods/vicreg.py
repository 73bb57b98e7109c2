"""VICReg: variance, invariance and covariance regularization (arXiv 2105.04906).

    s = mean over rows and dimensions of (z_bj - z'_bj)^2                               (Eq. 5)
    v(Z) = 1/d sum_j max(0, 1 - sqrt(Var(z_j) + 1e-4))                                  (Eqs. 1 and 2)
    c(Z) = 1/d sum_{i != j} C(Z)_ij^2,  C(Z) = 1/(n-1) sum_b (z_b - mean)(z_b - mean)'  (Eqs. 3 and 4)
    L = lambda s + mu [v(Z) + v(Z')] / 2 + nu [c(Z) + c(Z')]                            (Eq. 6)

The rows are those of all processes. Where text and released code differ, this is the code, which got the published
results with the weights 25, 25 and 1: Eq. 5 sums over the dimensions, and Eq. 6 does not halve the two variance terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from manyview.backbones import Backbone
from manyview.config import ImageAwareConfig, PretrainConfig
from manyview.config.methods import VICRegConfig
from manyview.distributed import gather
from manyview.heads import Projector
from manyview.methods.base import Method, MethodBatch
from manyview.methods.image_aware_term import add_image_aware
from manyview.methods.pairs import off_diagonal, project_pairs
from manyview.precision import at_least_float32

_EPSILON = 1e-4  # added to the variance (Eq. 2)


class VICReg(Method):
    """Backbone and expander, and the three terms over the pairs of the batches of all processes.

    Views 2k and 2k+1 of a group are its k-th pair; several pairs of an image, as of blocks, are so many rows.

    Args:
        backbone: from images to feature maps.
        options: widths, and weights of the terms.
        image_aware: the image-aware loss of the projections, and its weight.
    """

    section = VICRegConfig
    parts: ClassVar[Mapping[str, str]] = {"backbone": "backbone", "projector": "projector"}

    def __init__(self, backbone: Backbone, options: VICRegConfig, image_aware: ImageAwareConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.options = options
        self.image_aware = image_aware
        self.projector = Projector(backbone.out_channels, options.dim, options.hidden_dim, normalized=False)

    def forward(self, batch: MethodBatch) -> dict[str, Tensor]:
        """Compute the loss of one batch.

        Returns:
            ``loss`` (Eq. 6), ``invariance`` (s), ``variance`` (mean of v of both sides), ``covariance`` (sum of c of
            both), all without their weights, ``vicreg`` and ``image_aware`` where the image-aware loss is added,
            float32 scalars, and ``z`` (pairs, dim), the projections of the first views, detached.
        """
        z1, z2 = project_pairs(self.backbone, self.projector, batch.groups)
        with torch.autocast(z1.device.type, enabled=False):
            z1, z2 = map(at_least_float32, (z1, z2))
            sides = gather(z1), gather(z2)
            s = (sides[0] - sides[1]).square().mean()
            v = (variance(sides[0]) + variance(sides[1])) / 2
            c = covariance(sides[0]) + covariance(sides[1])
            options = self.options
            loss = options.invariance * s + options.variance * v + options.covariance * c
        result = {"loss": loss, "invariance": s.detach(), "variance": v.detach(), "covariance": c.detach()}
        return add_image_aware(result | {"z": z1.detach()}, "vicreg", self.image_aware, (z1, z1), (z2, z2), batch)

    def remedies(self, config: PretrainConfig) -> list[str]:
        """What may help against collapse, the most reliable first."""
        return [f"a higher method.variance (it was {self.options.variance:g})", *super().remedies(config)]


def variance(z: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
    """v(Z), the mean over dimensions of how far their standard deviation falls short of 1; the variance is unbiased."""
    return (1 - (z.var(dim=0) + _EPSILON).sqrt()).relu().mean()


def covariance(z: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
    """c(Z), the sum of the squared covariances between different dimensions, divided by their number."""
    centered = z - z.mean(dim=0)
    return off_diagonal(centered.T @ centered / (len(z) - 1)) / z.shape[1]
