"""The image-aware loss in blocks of the similarity matrix, which is never held as a whole.

With s_ij = z_i . z_j / tau, what matters of the row of an anchor i is log S_P and log S_N, which are kept apart so that
log(1 + S_N/S_P) stays exact, and for SupCon's L_out the sum of s_ij over P. They are accumulated over blocks of columns
as running logsumexps; the backward pass computes each block again. Memory is that of the unit vectors, their gradient
and a few blocks.

Backward, with g_i the gradient in L_i, sigma_i = S_N / (S_P + S_N), and w_i = 1/|P| (Eq. 1) or 1 (SupCon's L_in):

    Eq. 1, L_in    L_i = w_i log(1 + S_N/S_P) + const     dL_i/ds_ij = w_i sigma_i exp(s_ij) / S_N             j in N
                                                                     = -w_i sigma_i exp(s_ij) / S_P            j in P
    L_out          L_i = log(S_P + S_N) - 1/|P| sum_P s   dL_i/ds_ij = sigma_i exp(s_ij) / S_N                 j in N
                                                                     = (1 - sigma_i) exp(s_ij) / S_P - 1/|P|   j in P

so that G_ij = g_i dL_i/ds_ij is n_i exp(s_ij - log S_N) in N and p_i exp(s_ij - log S_P) + c_i in P, with

    Eq. 1, L_in    n_i = g_i w_i sigma_i,   p_i = -g_i w_i sigma_i,     c_i = 0
    L_out          n_i = g_i sigma_i,       p_i = g_i (1 - sigma_i),    c_i = -g_i / |P|

As s is symmetric, z_i gets its gradient from row i and from column i: dL/dz_i = 1/tau sum_j (G_ij + G_ji) z_j. With
five numbers of every anchor (log S_P, log S_N, n, p, c) the blocks of row i therefore give all of it. So, of two blocks
that mirror each other one is computed for both; and a process that has the rows of its own vectors needs five numbers
of each vector of the others, but no sum of gradients over processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from manyview.errors import UserError

Everywhere = Callable[[Tensor], Tensor]
"""From numbers of the anchors (own, numbers) to those of all vectors (vectors, numbers)."""


class Problem(NamedTuple):
    """What is to be computed of which vectors.

    Attributes:
        image_ids: image of each vector, on the vectors' device.
        size_p: |P| of each, at least 1.
        temperature: tau.
        form: of the loss.
        block: rows and columns of a block.
        first: index of the first anchor.
        everywhere: gathers what backward needs of the anchors of other processes; the identity where all vectors are
            anchors.
    """

    image_ids: Int64[Tensor, " vectors"]
    size_p: Int64[Tensor, " vectors"]
    temperature: float
    form: str
    block: int
    first: int = 0
    everywhere: Everywhere = lambda numbers: numbers


class Block(NamedTuple):
    """A block of the similarity matrix.

    Attributes:
        rows: its anchors, within the vectors.
        columns: its columns, within the vectors.
        mirrored: whether it stands for its transpose, too.
        logits: s_ij, with -inf for i itself.
        positive: whether j is in P(i); None where none is.
    """

    rows: slice
    columns: slice
    mirrored: bool
    logits: Float[Tensor, "rows columns"]
    positive: Bool[Tensor, "rows columns"] | None

    @property
    def transposed(self) -> Block:
        """The block on the other side of the diagonal."""
        positive = None if self.positive is None else self.positive.T
        return Block(self.columns, self.rows, self.mirrored, self.logits.T, positive)


def streamed_terms(
    z: Float[Tensor, "own dim"], unit: Float[Tensor, "vectors dim"], problem: Problem, *, normalized: bool
) -> Float[Tensor, " own"]:
    """L_i of each anchor in bounded memory; differentiable once, in z.

    Args:
        z: the anchors, float32 or float64.
        unit: all vectors, normalized, without gradient; those of z from ``problem.first`` on.
        problem: images, temperature and form.
        normalized: whether z holds unit vectors, too; else the gradient is that through ``F.normalize``.
    """
    terms: Tensor = _Streamed.apply(z, unit, problem, normalized)  # type: ignore[no-untyped-call]
    return terms


def block_size(device: torch.device) -> int:
    """Rows and columns of a block: 1 MiB of float32, which stays in a core's cache, or 16 MiB on an accelerator."""
    return 512 if device.type == "cpu" else 2048


class _Streamed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, unit: Tensor, problem: Problem, normalized: bool) -> Tensor:
        own = slice(problem.first, problem.first + len(z))
        log_p, log_n, sum_p = _sums(unit, own, problem)
        ctx.own, ctx.problem = own, problem
        ctx.save_for_backward(unit, log_p, log_n, None if normalized else torch.linalg.vector_norm(z, dim=1))
        size_p = problem.size_p[own].to(z.dtype)
        if problem.form == "out":
            return torch.logaddexp(log_p, log_n) - sum_p / size_p
        minus_log_r = torch.logaddexp(torch.zeros_like(log_p), log_n - log_p)
        return minus_log_r + size_p.log() if problem.form == "in" else minus_log_r / size_p

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        # On only for create_graph. PyTorch's once_differentiable would let the gradient pass as a constant.
        if torch.is_grad_enabled():
            raise UserError(
                "the image-aware loss of many vectors, or of several processes, can be differentiated once, not with "
                "create_graph=True: compute it on one process for at most manyview.losses.image_aware.DENSE vectors"
            )
        unit, log_p, log_n, norms = ctx.saved_tensors
        own, problem = ctx.own, ctx.problem
        with torch.autocast(unit.device.type, enabled=False):
            numbers = _numbers(log_p, log_n, gradient, problem.size_p[own].to(unit.dtype), problem.form)
            found = _gradient(unit, own, problem, problem.everywhere(numbers))
            if norms is not None:
                _through_normalization(found, unit[own], norms, problem.block)
        return found, None, None, None


def _sums(unit: Tensor, own: slice, problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Each anchor's log S_P, log S_N (-inf without negatives) and, for L_out only, sum of s_ij over P."""
    log_p = unit.new_full((own.stop - own.start,), -torch.inf)
    log_n, sum_p = log_p.clone(), torch.zeros_like(log_p)
    for block in _blocks(unit, own, problem):
        for part in (block, block.transposed) if block.mirrored else (block,):
            rows, negatives = _within(part.rows, own), part.logits
            if part.positive is not None:
                negatives = part.logits.masked_fill(part.positive, -torch.inf)
                positives = part.logits.masked_fill(~part.positive, -torch.inf)
                log_p[rows] = torch.logaddexp(log_p[rows], torch.logsumexp(positives, dim=1))
                if problem.form == "out":
                    sum_p[rows] += part.logits.masked_fill(~part.positive, 0).sum(dim=1)
            log_n[rows] = torch.logaddexp(log_n[rows], torch.logsumexp(negatives, dim=1))
    return log_p, log_n, sum_p


def _numbers(log_p: Tensor, log_n: Tensor, gradient: Tensor, size_p: Tensor, form: str) -> Float[Tensor, "own 5"]:
    """Each anchor's log S_P, log S_N, n, p and c, as in the module's derivation."""
    sigma = torch.sigmoid(log_n - log_p)
    if form == "out":
        n, p, c = gradient * sigma, gradient * torch.sigmoid(log_p - log_n), -gradient / size_p
    else:
        n = gradient * sigma / (1 if form == "in" else size_p)
        p, c = -n, torch.zeros_like(n)
    return torch.stack((log_p, log_n, n, p, c), dim=1)


def _gradient(
    unit: Tensor, own: slice, problem: Problem, numbers: Float[Tensor, "vectors 5"]
) -> Float[Tensor, "own dim"]:
    """Gradient in the unit vectors of the anchors."""
    found = torch.zeros_like(unit[own])
    for block in _blocks(unit, own, problem):
        both = _by_anchor(block, numbers) + _by_anchor(block.transposed, numbers).T
        if block.rows == block.columns:
            both.fill_diagonal_(0)  # is NaN without negatives: -inf - -inf
        both /= problem.temperature
        found[_within(block.rows, own)].addmm_(both, unit[block.columns])
        if block.mirrored:
            found[_within(block.columns, own)].addmm_(both.T, unit[block.rows])
    return found


def _by_anchor(block: Block, numbers: Float[Tensor, "vectors 5"]) -> Float[Tensor, "rows columns"]:
    """G_ij of a block."""
    log_p, log_n, n, p, c = numbers[block.rows, :, None].unbind(dim=1)
    found = (block.logits - log_n).exp_().mul_(n)
    if block.positive is None:
        return found
    return torch.where(block.positive, (block.logits - log_p).exp_().mul_(p).add_(c), found)


def _through_normalization(gradient: Tensor, unit: Tensor, norms: Float[Tensor, " own"], block: int) -> None:
    """Turn the gradient g in u = z/|z| into that in z, (g - (g . u) u) / |z|, in place.

    ``F.normalize`` divides what is shorter than 1e-12 by that instead, which is a constant.
    """
    for rows in _cut(0, len(gradient), block):
        along = (gradient[rows] * unit[rows]).sum(dim=1).masked_fill_(norms[rows] < 1e-12, 0)
        gradient[rows].addcmul_(unit[rows], along[:, None], value=-1).div_(norms[rows, None].clamp_min(1e-12))


def _blocks(unit: Tensor, own: slice, problem: Problem) -> Iterator[Block]:
    """The blocks of the anchors' rows; of two that mirror each other only one."""
    ids = problem.image_ids
    rows = _cut(own.start, own.stop, problem.block)
    others = [*_cut(0, own.start, problem.block), *_cut(own.stop, len(unit), problem.block)]
    images = _ranges(ids, [*rows, *others])
    for number, first in enumerate(rows):
        for second in (*rows[number:], *others):
            logits = (unit[first] @ unit[second].T).div_(problem.temperature)
            (least, greatest), (other_least, other_greatest) = images[first.start], images[second.start]
            may_share = least <= other_greatest and other_least <= greatest
            positive = ids[first, None] == ids[second] if may_share else None
            if first == second and positive is not None:
                logits.fill_diagonal_(-torch.inf)
                positive.fill_diagonal_(False)
            yield Block(first, second, own.start <= second.start < own.stop and first != second, logits, positive)


def _ranges(image_ids: Tensor, parts: list[slice]) -> dict[int, tuple[int, int]]:
    """Least and greatest image of each part, by where the part starts."""
    if not parts:
        return {}
    found = torch.stack([torch.stack(image_ids[part].aminmax()) for part in parts]).tolist()
    return {part.start: (least, greatest) for part, (least, greatest) in zip(parts, found, strict=True)}


def _cut(start: int, stop: int, size: int) -> list[slice]:
    return [slice(begin, min(begin + size, stop)) for begin in range(start, stop, size)]


def _within(part: slice, own: slice) -> slice:
    return slice(part.start - own.start, part.stop - own.start)
