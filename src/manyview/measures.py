"""Label-free measures of representations: collapse, effective rank, spectral decay, uniformity and alignment."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional as F

from manyview.errors import UserError
from manyview.runtime import single_thread

ALPHA_REQ_RANKS = (11, 100)
"""First and last eigenvalue, counted from 1, of the linear fit of alpha-ReQ, as in its authors' code."""

# A fit to fewer eigenvalues is dominated by noise.
_FEWEST_EIGENVALUES = 10
# Rows of the matrix of pairwise distances in memory at a time.
_ROWS = 1024


def collapse_std(z: Float[Tensor, "vectors dim"]) -> float:
    """Standard deviation of z/|z| over the batch, mean over dimensions, times sqrt(d) (arXiv 2011.10566, Section 4.1).

    Args:
        z: at least two vectors.

    Returns:
        0 if all directions are equal, about 1 if they are uniformly distributed; NaN if z is not finite.

    Raises:
        UserError: fewer than two vectors, whose standard deviation is undefined.
    """
    _require_two(z, "the standard deviation over a batch")
    unit = _unit(z)
    return float(unit.std(dim=0).mean() * unit.shape[1] ** 0.5)


def effective_rank(z: Float[Tensor, "vectors dim"]) -> float:
    """RankMe (arXiv 2210.02885, Eq. 1): exp(-sum_k p_k log p_k) of the shares p_k = sigma_k / sum_j sigma_j.

    sigma are the singular values of the matrix of vectors. The published formula adds 1e-7 to each share to avoid
    log(0); here 0 log 0 is 0, so nothing is added.

    Args:
        z: vectors as they are, not centered.

    Returns:
        from 1 (one direction) to min(vectors, dim); 1 if z is all zeros; NaN if z is not finite.
    """
    sigma = _squared_singular_values(z.detach().double().cpu()).sqrt()
    p = sigma / sigma.sum().clamp_min(torch.finfo(sigma.dtype).tiny)
    return float(torch.special.entr(p).sum().exp())


def alpha_req(z: Float[Tensor, "vectors dim"], ranks: tuple[int, int] = ALPHA_REQ_RANKS) -> float:
    """alpha-ReQ (Agrawal et al., NeurIPS 2022): alpha in lambda_k ~ k^-alpha, the eigenvalues of the covariance of z.

    log lambda_k = c - alpha log k is fitted by least squares with weights 1/k, so that the many eigenvalues of the
    tail, which are dense on the logarithmic scale, do not outweigh the few before them (Stringer et al., Nature 2019,
    whose fit the authors use). The first ten eigenvalues, which do not follow the power law, are left out.

    Args:
        z: vectors as they are; they are centered here.
        ranks: first and last k of the fit; the last is lowered to the number of eigenvalues above rounding.

    Returns:
        alpha: 0 for a flat spectrum (isotropic), larger the fewer directions hold the variance. The authors find the
        best accuracy near 1. NaN if fewer than ten eigenvalues in the range are above rounding (as for equal
        vectors), or z is not finite.
    """
    first, last = ranks
    assert 1 <= first < last, f"ranks are {ranks}"
    vectors = z.detach().double().cpu()
    eigenvalues = _squared_singular_values(vectors - vectors.mean(dim=0)).flip(0)
    # Rounding error of z, which is all that is left after centering if the vectors are nearly equal.
    noise = max(z.shape) * (torch.finfo(z.dtype).eps * vectors.abs().max()) ** 2
    used = eigenvalues[first - 1 : last]
    used = used[used > noise]
    if len(used) < min(_FEWEST_EIGENVALUES, last - first + 1):
        return float("nan")
    k = torch.arange(first, first + len(used), dtype=used.dtype)
    x, y, weight = k.log(), used.log(), 1 / k
    x, y = (values - (weight * values).sum() / weight.sum() for values in (x, y))
    return float(-(weight * x * y).sum() / (weight * x * x).sum())


def uniformity(z: Float[Tensor, "vectors dim"], t: float | int = 2.0) -> float:
    """L_uniform (Wang and Isola, arXiv 2005.10242): log of the mean of exp(-t |u_i - u_j|^2) over pairs i < j.

    Args:
        z: at least two vectors; u = z/|z|.
        t: as published, 2.

    Returns:
        0 if all directions are equal, about -2t in many dimensions if they are uniformly distributed; lower is better.
        NaN if z is not finite.

    Raises:
        UserError: fewer than two vectors.
    """
    _require_two(z, "uniformity")
    unit = _unit(z)
    lengths = unit.square().sum(dim=1)
    logs = []
    for start in range(0, len(unit), _ROWS):
        rows = slice(start, start + _ROWS)
        squares = (lengths[rows, None] + lengths - 2 * unit[rows] @ unit.T).clamp_min(0)
        pair = torch.arange(start, start + len(squares))[:, None] < torch.arange(len(unit))
        logs.append((-t * squares).masked_fill(~pair, -torch.inf).flatten().logsumexp(0))
    pairs = len(unit) * (len(unit) - 1) / 2
    return float(torch.stack(logs).logsumexp(0) - torch.tensor(pairs, dtype=unit.dtype).log())


def alignment(first: Float[Tensor, "pairs dim"], second: Float[Tensor, "pairs dim"], alpha: float | int = 2.0) -> float:
    """L_align (Wang and Isola, arXiv 2005.10242): mean of |u_i - v_i|^alpha over positive pairs.

    Args:
        first: vectors of one view of each image; u is first/|first|.
        second: vectors of another view of the same images; v is second/|second|.
        alpha: as published, 2.

    Returns:
        0 if both views of every image have the same direction, 2 (with alpha 2) if they are orthogonal, 4 if they are
        opposite; lower is better. NaN without pairs, or if a vector is not finite.
    """
    return float((_unit(first) - _unit(second)).norm(dim=1).pow(alpha).mean())


def _unit(z: Float[Tensor, "vectors dim"]) -> Float64[Tensor, "vectors dim"]:
    """z/|z|; a vector of zeros stays as it is."""
    z = z.detach().double().cpu()
    # Scaled first, so that short vectors do not fall below the eps of F.normalize.
    return F.normalize(z / z.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny), dim=1)


def _squared_singular_values(z: Float64[Tensor, "vectors dim"]) -> Float64[Tensor, " smaller"]:
    """Squared singular values in ascending order, 0 where below rounding; NaN if z is not finite."""
    size = min(z.shape)
    if not bool(z.isfinite().all()):
        return torch.full((size,), torch.nan, dtype=z.dtype)
    # Eigenvalues of the smaller Gram matrix are the squared singular values, many times cheaper.
    gram = z @ z.T if len(z) <= z.shape[1] else z.T @ z
    squares = _eigenvalues(gram).clamp_min(0)
    rounding = size * torch.finfo(gram.dtype).eps * squares.max()
    return torch.where(squares > rounding, squares, 0)


def _eigenvalues(matrix: Float[Tensor, "n n"]) -> Float[Tensor, " n"]:
    """Of a symmetric matrix, on one thread: on busy cores, LAPACK's threads wait for each other for seconds."""
    with single_thread():
        return torch.linalg.eigvalsh(matrix)


def _require_two(z: Tensor, what: str) -> None:
    if len(z) < 2:
        raise UserError(f"{what} needs at least two vectors, not {len(z)}")
