"""Swapped prediction: views predict the targets of other views of their image, in groups of one size or of several."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyview.methods.base import MethodBatch


def predictors(counts: Sequence[int], device: torch.device) -> Bool[Tensor, "targets views"]:
    """Which views (columns) predict the target of which view of the first group (rows).

    With several groups all other views of the image do, as in multi-crop (arXiv 2006.09882, Eq. 6; 2104.14294, Eq. 3).
    With one group only the other view of the pair does, so that views of different blocks are not matched.

    Args:
        counts: views per image of each group, even numbers.
        device: of the result.
    """
    target = torch.arange(counts[0], device=device)[:, None]
    view = torch.arange(sum(counts), device=device)
    return view == (target ^ 1) if len(counts) == 1 else view != target


def by_image(rows: Float[Tensor, "rows dim"], batch: MethodBatch) -> Float[Tensor, "images views dim"]:
    """Rows of all groups, ordered by group, image and view, as one block for each image."""
    parts = rows.split([group.shape[0] * group.shape[1] for group in batch.groups])
    pairs = zip(parts, batch.groups, strict=True)
    return torch.cat([part.unflatten(0, group.shape[:2]) for part, group in pairs], dim=1)


def cross_entropy(
    targets: Float[Tensor, "images targets classes"],
    log_probabilities: Float[Tensor, "images views classes"],
    predicted: Bool[Tensor, "targets views"],
) -> Float[Tensor, ""]:
    """Mean over images, and over targets with their predictors, of - sum_k q_k log p_k.

    Args:
        targets: q, distributions without gradients.
        log_probabilities: log p of each view.
        predicted: result of ``predictors``.
    """
    products = torch.einsum("itk,ivk->itv", targets, log_probabilities)
    return -products.mean(dim=0)[predicted].mean()


def entropy(targets: Float[Tensor, "images targets classes"]) -> Float[Tensor, ""]:
    """Mean entropy of distributions in nats: from 0, all on one class, to log(classes), uniform."""
    return torch.special.entr(targets).sum(dim=-1).mean()
