"""SimSiam's similarity loss (arXiv 2011.10566, Eq. 1 and 2)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity


def negative_cosine_similarity(p: Float[Tensor, "pairs dim"], z: Float[Tensor, "pairs dim"]) -> Float[Tensor, ""]:
    """D(p, z) = -p/|p| . z/|z|, mean over rows, from -1 to 1; the gradient flows into both.

    Args:
        p: predictions, one row a pair.
        z: projections of the other views, in the same order.
    """
    return -cosine_similarity(p, z, dim=1).mean()


def symmetric_similarity(
    p1: Float[Tensor, "pairs dim"],
    z1: Float[Tensor, "pairs dim"],
    p2: Float[Tensor, "pairs dim"],
    z2: Float[Tensor, "pairs dim"],
    *,
    stop_gradient: bool = True,
) -> Float[Tensor, ""]:
    """L_sim = D(p1, sg z2)/2 + D(p2, sg z1)/2, from -1 to 1.

    Args:
        p1: predictions of the first views.
        z1: projections of the first views.
        p2: predictions of the second views.
        z2: projections of the second views.
        stop_gradient: whether z is a constant (sg), as in SimSiam.
    """
    if stop_gradient:
        z1, z2 = z1.detach(), z2.detach()
    return negative_cosine_similarity(p1, z2) / 2 + negative_cosine_similarity(p2, z1) / 2
