"""Projections of the pairs of views, over all processes: what losses over a whole batch are computed from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from manyview.backbones import Backbone
from manyview.heads import Head
from manyview.pooling import pool


def project_pairs(
    backbone: Backbone, projector: Head, groups: Sequence[Float[Tensor, "images _ channels _ _"]]
) -> tuple[Float[Tensor, "pairs dim"], Float[Tensor, "pairs dim"]]:
    """Projections of the first and of the second view of each pair, ordered by group, image and pair.

    Views 2k and 2k+1 of a group are its k-th pair. The views of either side pass the network together, so that batch
    norms see one side at a time, and the backbone once for each group.

    Args:
        backbone: from images to feature maps.
        projector: on average-pooled features.
        groups: of this process's batch, each with an even number of views.
    """
    first, second = (
        torch.cat([projector(pool(backbone(group[:, side::2].flatten(0, 1)), kind="avg")) for group in groups])
        for side in (0, 1)
    )
    return first, second


def off_diagonal(matrix: Float[Tensor, "dim dim"]) -> Float[Tensor, ""]:
    """Sum of the squares of a square matrix's entries that are not on its diagonal."""
    return (matrix - matrix.diagonal().diag()).square().sum()
