"""Features and projections of the views of a batch, and of the two sides of its pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from manyview.backbones import Backbone
from manyview.heads import Head
from manyview.pooling import pool

Groups = Sequence[Float[Tensor, "images _ channels _ _"]]
Images = Float[Tensor, "_ channels _ _"]


def sides(groups: Groups) -> tuple[list[Images], list[Images]]:
    """For each group, the first views of its pairs, and the second, ordered by image and pair.

    Views 2k and 2k+1 of a group are its k-th pair.

    Args:
        groups: of this process's batch, each with an even number of views.
    """
    first, second = ([group[:, side::2].flatten(0, 1) for group in groups] for side in (0, 1))
    return first, second


def project(backbone: Backbone, projector: Head, images: Iterable[Images]) -> Float[Tensor, "rows dim"]:
    """Projections z = projector(GAP(backbone(x))), concatenated.

    Args:
        backbone: from images to feature maps.
        projector: on average-pooled features.
        images: batches of one size each; norms see one at a time.
    """
    return torch.cat([projector(pool(backbone(x), kind="avg")) for x in images])


def project_pairs(
    backbone: Backbone, projector: Head, groups: Groups
) -> tuple[Float[Tensor, "pairs dim"], Float[Tensor, "pairs dim"]]:
    """Projections of the first and of the second view of each pair, ordered by group, image and pair.

    The views of either side pass the network together, so that batch norms see one side at a time.

    Args:
        backbone: from images to feature maps.
        projector: on average-pooled features.
        groups: of this process's batch, each with an even number of views.
    """
    first, second = (project(backbone, projector, side) for side in sides(groups))
    return first, second


def pooled_views(backbone: Backbone, groups: Groups, pooling: str = "avg") -> Float[Tensor, "all_views dim"]:
    """Pooled features of the views of all groups, ordered by group, image and view.

    Args:
        backbone: from images to feature maps.
        groups: of this process's batch; norms see one at a time.
        pooling: of ``manyview.pooling.pool``.
    """
    return torch.cat([pool(backbone(group.flatten(0, 1)), kind=pooling) for group in groups])


def off_diagonal(matrix: Float[Tensor, "dim dim"]) -> Float[Tensor, ""]:
    """Sum of the squares of a square matrix's entries that are not on its diagonal."""
    return (matrix - matrix.diagonal().diag()).square().sum()
