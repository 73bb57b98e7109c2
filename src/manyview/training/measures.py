"""How far a batch of projections is from collapse, in two numbers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyview.errors import UserError


def collapse_std(z: Float[Tensor, "vectors dim"]) -> float:
    """Deviation of z/|z| over the batch, mean over dimensions, times sqrt(d) (arXiv 2011.10566, Section 4.1).

    Args:
        z: at least two vectors.

    Returns:
        0 if all vectors have one direction, about 1 if their directions are spread evenly; NaN if z is not finite.

    Raises:
        UserError: fewer than two vectors, whose deviation is undefined.
    """
    if len(z) < 2:
        raise UserError(f"the deviation over a batch needs at least two vectors, not {len(z)}")
    unit = F.normalize(z.detach().double().cpu(), dim=1)
    return float(unit.std(dim=0).mean() * unit.shape[1] ** 0.5)


def effective_rank(z: Float[Tensor, "vectors dim"]) -> float:
    """RankMe (arXiv 2210.02885, Eq. 1): the exponential of the entropy of the normalised singular values of z.

    The published formula adds 1e-7 to each share to keep from log(0); here 0 log 0 is 0, so nothing is added.

    Args:
        z: vectors as they are, not centred.

    Returns:
        from 1 (one direction) to min(vectors, dim); 1 if z is all zeros; NaN if z is not finite.
    """
    z = z.detach().double().cpu()
    if not bool(z.isfinite().all()):
        return float("nan")
    sigma = torch.linalg.svdvals(z)
    p = sigma / sigma.sum().clamp_min(torch.finfo(sigma.dtype).tiny)
    return float(torch.special.entr(p).sum().exp())
