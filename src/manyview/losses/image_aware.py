"""L_ia: the Image-Aware Contrastive loss (arXiv 2506.23156, Eq. 1) and SupCon's two forms (arXiv 2004.11362).

For anchor i let P(i) be the other views of its image, A(i) all other vectors, N(i) = A(i) - P(i), and S_P, S_A,
S_N the sums of exp(z_i . z / tau) over them. Then

    Eq. 1       L_i     = -1/|P| log(S_P / S_A)
    SupCon in   L_in,i  = -log(1/|P| S_P / S_A)                             so that L_i = (L_in,i - log|P|) / |P|
    SupCon out  L_out,i = -1/|P| sum_P log(exp(z_i . z_p / tau) / S_A)      >= L_in,i by Jensen's inequality
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from manyview.errors import UserError
from manyview.losses.similarity import at_least_float32

FORMS = ("outside", "in", "out")


def image_aware_loss(
    z: Float[Tensor, "vectors dim"], image_ids: Int[Tensor, " vectors"], temperature: float = 0.3, form: str = "outside"
) -> Float[Tensor, ""]:
    """Image-Aware Contrastive loss, averaged over anchors: attracts views of one image, repels those of others.

    Args:
        z: nonzero vectors, which are L2-normalized here. Half precision is computed in float32, also under
            autocast; float64 stays float64.
        image_ids: image of each vector. Images may have different numbers of vectors.
        temperature: tau, above 0.
        form: "outside" is Eq. 1, which has 1/|P| and the sum over positives outside and inside the logarithm;
            "in" and "out" are SupCon's L_in and L_out.

    Returns:
        a scalar, 0 or more, float32 or float64.

    Raises:
        UserError: a vector is the only one of its image, so that P(i) is empty; or an argument is out of range.
    """
    _check(z, image_ids, temperature, form)
    with torch.autocast(z.device.type, enabled=False):
        z = F.normalize(at_least_float32(z), dim=1)
        return anchor_terms(z, image_ids, temperature, form).mean()


def anchor_terms(
    z: Float[Tensor, "vectors dim"], image_ids: Int[Tensor, " vectors"], temperature: float = 0.3, form: str = "outside"
) -> Float[Tensor, " vectors"]:
    """L_i of each anchor i, for vectors that are already normalized.

    Computed in log space, as exp, sum and log underflow to log(0) at small tau.

    Args:
        z: unit vectors.
        image_ids: image of each vector.
        temperature: tau, above 0.
        form: as for ``image_aware_loss``.

    Raises:
        UserError: as for ``image_aware_loss``.
    """
    _check(z, image_ids, temperature, form)
    logits = z @ z.T / temperature
    same = image_ids[:, None] == image_ids
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    positives = same & ~itself
    size_p = positives.sum(dim=1)
    if not bool(size_p.all()):
        lone = image_ids[size_p == 0]
        raise UserError(
            f"{len(lone)} of {len(z)} vectors have no positive: each image needs at least two vectors, but "
            f"image {int(lone[0])} has one; pair views of the same image under the same image id"
        )
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


def _check(z: Tensor, image_ids: Tensor, temperature: float, form: str) -> None:
    if form not in FORMS:
        raise UserError(f'form is {form!r}; choose "outside" (Eq. 1), "in" or "out" (SupCon)')
    if not temperature > 0:
        raise UserError(f"temperature must be above 0, not {temperature:g}")
    if len(z) != len(image_ids):
        raise UserError(f"{len(z)} vectors but {len(image_ids)} image ids; give one id for each vector")
