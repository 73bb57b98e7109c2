"""The multi-block Image-Aware Contrastive loss (arXiv 2506.23156, Eq. 1) and its two relatives from SupCon."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from manyview.errors import UserError

Form = Literal["outside", "in", "out"]


def image_aware_loss(
    z: Float[Tensor, "views dim"],
    image_ids: Int[Tensor, " views"],
    temperature: float = 0.3,
    form: Form = "outside",
) -> Float[Tensor, ""]:
    """Mean over the anchors of the image-aware contrastive loss.

    With s_ia = z_i . z_a / tau, P(i) the other views of the anchor's photograph and A(i) all other views:

        outside   L_i = -1/|P(i)| log( sum_P exp s_ip / sum_A exp s_ia )       Eq. 1
        in        L_i = -log( 1/|P(i)| sum_P exp s_ip / sum_A exp s_ia )       SupCon (arXiv 2004.11362), Eq. 3
        out       L_i = -1/|P(i)| sum_P log( exp s_ip / sum_A exp s_ia )       SupCon, Eq. 2

    The equations print a sum over the anchors; the mean keeps the loss on the scale of L_sim at any batch size.

    Args:
        z: one row a view, of any length: rows are L2-normalised here. Half precision is computed in float32.
        image_ids: the photograph that each view shows; numbers only need to be equal or different.
        temperature: tau, above 0.
        form: "outside" (the paper's), "in" or "out".

    Raises:
        UserError: unknown form, a temperature that is not above 0, or a view without another one of its photograph.
    """
    if z.dtype in (torch.float16, torch.bfloat16):
        z = z.float()
    z = normalize(z, dim=1)
    return image_aware_terms(z @ z.T, image_ids, temperature, form).mean()


def image_aware_terms(
    similarity: Float[Tensor, "views views"],
    image_ids: Int[Tensor, " views"],
    temperature: float,
    form: Form = "outside",
) -> Float[Tensor, " views"]:
    """L_i of each anchor i from the inner products z_i . z_a; the diagonal is not read.

    Args:
        similarity: z_i . z_a of L2-normalised vectors.
        image_ids: as for ``image_aware_loss``.
        temperature: tau.
        form: as for ``image_aware_loss``.

    Raises:
        UserError: as for ``image_aware_loss``.
    """
    if temperature <= 0:
        raise UserError(f"temperature must be above 0, not {temperature}")
    own = torch.eye(len(image_ids), dtype=torch.bool, device=similarity.device)
    positives = (image_ids[:, None] == image_ids[None, :]) & ~own
    count = positives.sum(1)
    if not bool((count > 0).all()):
        alone = int(image_ids[count == 0][0])
        raise UserError(
            f"image_ids: photograph {alone} has a single view; each view needs another one of its photograph"
        )
    s = similarity / temperature
    log_all = _logsumexp(s, ~own)
    if form == "outside":
        return (log_all - _logsumexp(s, positives)) / count
    if form == "in":
        return log_all - _logsumexp(s, positives) + count.log()
    if form == "out":
        return log_all - torch.where(positives, s, 0).sum(1) / count
    raise UserError(f"form must be 'outside', 'in' or 'out', not {form!r}")


def _logsumexp(s: Float[Tensor, "views views"], chosen: Bool[Tensor, "views views"]) -> Float[Tensor, " views"]:
    """Logarithm of the sum of exp over the chosen entries of each row, without underflow at small temperatures."""
    return torch.where(chosen, s, -torch.inf).logsumexp(1)
