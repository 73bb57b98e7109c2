"""L_sim: SimSiam's negative cosine similarity (arXiv 2011.10566, Eq. 1 and 4)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyview.precision import at_least_float32


def negative_cosine_similarity(p: Float[Tensor, "rows dim"], z: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
    """D(p, z) = -(p/|p|) . (z/|z|), the mean over rows (arXiv 2011.10566, Eq. 1).

    Gradients flow into both arguments; pass ``z.detach()`` for SimSiam's stop-gradient.

    Args:
        p: predictions. Half-precision input is computed in float32.
        z: projections of the other view of each pair.

    Returns:
        a scalar from -1 (equal directions) to 1, float32 or float64.
    """
    p, z = at_least_float32(p), at_least_float32(z)
    return -(F.normalize(p, dim=1) * F.normalize(z, dim=1)).sum(dim=1).mean()


def symmetric_similarity(
    p1: Float[Tensor, "pairs dim"],
    z1: Float[Tensor, "pairs dim"],
    p2: Float[Tensor, "pairs dim"],
    z2: Float[Tensor, "pairs dim"],
    *,
    stop_gradient: bool = True,
) -> Float[Tensor, ""]:
    """L_sim = (D(p1, sg z2) + D(p2, sg z1)) / 2 over the pairs (arXiv 2011.10566, Eq. 4).

    Args:
        p1: predictions of the first view of each pair.
        z1: projections of the first view of each pair.
        p2: predictions of the second view of each pair.
        z2: projections of the second view of each pair.
        stop_gradient: whether ``sg`` stops the gradient; otherwise it is the identity.

    Returns:
        a scalar from -1 to 1, float32 or float64.
    """
    if stop_gradient:
        z1, z2 = z1.detach(), z2.detach()
    return (negative_cosine_similarity(p1, z2) + negative_cosine_similarity(p2, z1)) / 2
