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
    z = z.detach().double().cpu()
    # Scaled first, so that the shortest vectors do not fall under the length at which normalize gives up.
    unit = F.normalize(z / z.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny), dim=1)
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
    # Eigenvalues of the smaller Gram matrix are the squared singular values, many times cheaper; what lies under the
    # rounding of that matrix counts as 0.
    gram = z @ z.T if len(z) <= z.shape[1] else z.T @ z
    squares = _eigenvalues(gram).clamp_min(0)
    rounding = len(gram) * torch.finfo(gram.dtype).eps * squares.max()
    sigma = torch.where(squares > rounding, squares, 0).sqrt()
    p = sigma / sigma.sum().clamp_min(torch.finfo(sigma.dtype).tiny)
    return float(torch.special.entr(p).sum().exp())


def _eigenvalues(matrix: Float[Tensor, "n n"]) -> Float[Tensor, " n"]:
    """Of a symmetric matrix, on one thread: on busy cores, LAPACK's threads wait for each other for seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return torch.linalg.eigvalsh(matrix)
    finally:
        torch.set_num_threads(threads)
