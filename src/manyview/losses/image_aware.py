"""L_ia: the Image-Aware Contrastive loss (arXiv 2506.23156, Eq. 1) and SupCon's two forms (arXiv 2004.11362).

For anchor i let P(i) be the other views of its image, A(i) all other vectors, N(i) = A(i) - P(i), and S_P, S_A,
S_N the sums of exp(z_i . z / tau) over them. Then

    Eq. 1       L_i     = -1/|P| log(S_P / S_A)
    SupCon in   L_in,i  = -log(1/|P| S_P / S_A)                             so that L_i = (L_in,i - log|P|) / |P|
    SupCon out  L_out,i = -1/|P| sum_P log(exp(z_i . z_p / tau) / S_A)      >= L_in,i by Jensen's inequality

Up to ``DENSE`` vectors the similarity matrix is held as a whole; beyond that it is computed in blocks
(``manyview.losses.streamed``), which takes memory for the vectors instead of for their pairs.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor
from torch.nn import functional as F

from manyview.errors import UserError
from manyview.losses.inputs import ImageIds, Vectors, as_ids, as_vectors
from manyview.losses.streamed import Problem, block_size, streamed_terms
from manyview.precision import at_least_float32

FORMS = ("outside", "in", "out")
DENSE = 4096
"""Greatest number of vectors whose similarity matrix is held as a whole: some copies of 64 MiB in float32."""


def image_aware_loss(
    z: Vectors, image_ids: ImageIds, temperature: float = 0.3, form: str = "outside"
) -> Float[Tensor, ""]:
    """Image-Aware Contrastive loss, averaged over anchors: attracts views of one image, repels those of others.

    Beyond ``DENSE`` vectors extra memory grows with the vectors, not with their pairs, and the loss can be
    differentiated once only. For vectors that are spread over processes see ``distributed_image_aware_loss``.

    Args:
        z: (vectors, dim) nonzero vectors, which are L2-normalized here: a tensor, an array or a list. Half precision is
            computed in float32, also under autocast; float64 stays float64.
        image_ids: whole number of each vector's image: a tensor, an array or a list. Images may have different numbers
            of vectors.
        temperature: tau, above 0.
        form: "outside" is Eq. 1, which has 1/|P| and the sum over positives outside and inside the logarithm;
            "in" and "out" are SupCon's L_in and L_out.

    Returns:
        a scalar, 0 or more, float32 or float64.

    Raises:
        UserError: a vector is the only one of its image, so that P(i) is empty; or an argument is out of range; or, in
            backward, the loss is to be differentiated twice beyond ``DENSE`` vectors.
    """
    z = as_vectors(z)
    image_ids = as_ids(image_ids, z.device)
    check_arguments(z, image_ids, temperature, form)
    with torch.autocast(z.device.type, enabled=False):
        z = at_least_float32(z)
        if len(z) <= DENSE:
            return _dense(F.normalize(z, dim=1), image_ids, temperature, form).mean()
        return _streamed(z, image_ids, temperature, form, normalized=False).mean()


def anchor_terms(
    z: Vectors, image_ids: ImageIds, temperature: float = 0.3, form: str = "outside"
) -> Float[Tensor, " vectors"]:
    """L_i of each anchor i, for vectors that are already normalized.

    Computed in log space, as exp, sum and log underflow to log(0) at small tau.

    Args:
        z: (vectors, dim) unit vectors: a tensor, an array or a list.
        image_ids: whole number of each vector's image: a tensor, an array or a list.
        temperature: tau, above 0.
        form: as for ``image_aware_loss``.

    Raises:
        UserError: as for ``image_aware_loss``.
    """
    z = as_vectors(z)
    image_ids = as_ids(image_ids, z.device)
    check_arguments(z, image_ids, temperature, form)
    if len(z) <= DENSE:
        return _dense(z, image_ids, temperature, form)
    return _streamed(z, image_ids, temperature, form, normalized=True)


def _dense(z: Tensor, image_ids: Tensor, temperature: float, form: str) -> Tensor:
    """L_i of each anchor from the whole similarity matrix of unit vectors."""
    logits = z @ z.T / temperature
    same = image_ids[:, None] == image_ids
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    positives = same & ~itself
    size_p = positives.sum(dim=1)
    refuse_lone(image_ids, size_p)
    if form == "out":
        log_s_a = torch.logsumexp(logits.masked_fill(itself, -torch.inf), dim=1)
        return log_s_a - logits.masked_fill(~positives, 0).sum(dim=1) / size_p
    # -log(S_P/S_A) = log(1 + S_N/S_P): the difference of two large logarithms would lose a small loss to rounding.
    log_s_p = torch.logsumexp(logits.masked_fill(~positives, -torch.inf), dim=1)
    log_s_n = torch.logsumexp(logits.masked_fill(same, -torch.inf), dim=1)
    minus_log_r = torch.logaddexp(torch.zeros_like(log_s_p), log_s_n - log_s_p)
    if form == "in":
        return minus_log_r + size_p.to(z.dtype).log()
    return minus_log_r / size_p


def _streamed(z: Tensor, image_ids: Tensor, temperature: float, form: str, *, normalized: bool) -> Tensor:
    """L_i of each anchor, with the similarity matrix in blocks."""
    ids, size_p = numbered(image_ids)
    unit = z.detach() if normalized else F.normalize(z.detach(), dim=1)
    problem = Problem(ids, size_p, temperature, form, block_size(z.device))
    return streamed_terms(z, unit, problem, normalized=normalized)


def numbered(image_ids: Int[Tensor, " vectors"]) -> tuple[Int64[Tensor, " vectors"], Int64[Tensor, " vectors"]]:
    """Images as numbers from 0 in the order of their ids, and |P| of each vector.

    Raises:
        UserError: a vector is the only one of its image.
    """
    _, numbers, counts = image_ids.unique(return_inverse=True, return_counts=True)
    size_p = counts[numbers] - 1
    refuse_lone(image_ids, size_p)
    return numbers, size_p


def refuse_lone(image_ids: Int[Tensor, " vectors"], size_p: Int64[Tensor, " vectors"]) -> None:
    """Refuse vectors without positives."""
    if not bool(size_p.all()):
        lone = image_ids[size_p == 0]
        raise UserError(
            f"{len(lone)} of {len(image_ids)} vectors have no positive: each image needs at least two vectors, but "
            f"image {int(lone[0])} has one; pair views of the same image under the same image id"
        )


def check_arguments(z: Tensor, image_ids: Tensor, temperature: float, form: str) -> None:
    """Refuse arguments of the loss that are out of range."""
    if form not in FORMS:
        raise UserError(f'form is {form!r}; choose "outside" (Eq. 1), "in" or "out" (SupCon)')
    if not temperature > 0:
        raise UserError(f"temperature must be above 0, not {temperature:g}")
    if len(z) != len(image_ids):
        raise UserError(f"{len(z)} vectors but {len(image_ids)} image ids; give one id for each vector")
