"""Label-free measures of a representation's health."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def collapse_std(z: Float[Tensor, "vectors dim"]) -> float:
    """sqrt(d) times the mean over dimensions of the standard deviation of z/|z| over the vectors.

    Near 1 where directions are spread evenly, 0 where all vectors point the same way (arXiv 2011.10566, Section 4.1).

    Args:
        z: two or more vectors, of any length.
    """
    directions = normalize(z.detach().float(), dim=1)
    return float(directions.std(0, correction=0).mean() * z.shape[1] ** 0.5)


def effective_rank(z: Float[Tensor, "vectors dim"]) -> float:
    """RankMe (arXiv 2210.02885, Eq. 1 and 2): exp(-sum p_k log p_k), p_k = sigma_k / sum_j sigma_j.

    From 1 to min(vectors, dim). The singular values come from the smaller Gram matrix in float64, which is many times
    faster than a decomposition of z itself.

    Args:
        z: two or more vectors.
    """
    matrix = z.detach().double().cpu()
    gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    sigma = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    total = sigma.sum()
    if total == 0:
        return 1.0
    p = sigma / total
    return float(torch.exp(-torch.xlogy(p, p).sum()))
