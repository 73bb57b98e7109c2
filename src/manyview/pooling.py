"""Global pooling of feature maps to vectors (paper Section 3.3), fixed or learned with a classifier."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from manyview.errors import UserError

KINDS = ("gamp", "avg", "max", "avg_minus_max", "cat")
DEFAULT = "gamp"
ATTENTION = "attention"
"""The pooling whose weights are learned with the classifier (``attention_pool``)."""
QUERIES = 32
"""Queries of learned pooling where they divide the channels, as in arXiv 2506.10178."""


def pool(features: Float[Tensor, "batch dim rows columns"], kind: str = "gamp") -> Float[Tensor, "batch pooled"]:
    """Pool a feature map over all positions.

    Args:
        features: a backbone's output.
        kind: "avg" (GAP), "max" (GMP), "gamp" ((GAP + GMP)/2, the paper's), "avg_minus_max" ((GAP - GMP)/2, the
            paper's sentence read literally), "cat" (GAP and GMP concatenated).

    Returns:
        one vector per image, of dimension ``dim``, or 2 ``dim`` with "cat"; dtype of the features.

    Raises:
        UserError: unknown pooling.
    """
    _check(kind)
    # Only what is needed is computed: the maximum of a large map is not free.
    average = features.mean(dim=(2, 3)) if kind != "max" else None
    maximum = features.amax(dim=(2, 3)) if kind != "avg" else None
    return _combine(average, maximum, kind)


def combine(
    average: Float[Tensor, "batch dim"], maximum: Float[Tensor, "batch dim"], kind: str = "gamp"
) -> Float[Tensor, "batch pooled"]:
    """The result of ``pool`` from the global average and the global maximum of the same maps.

    Args:
        average: GAP.
        maximum: GMP.
        kind: as for ``pool``.

    Raises:
        UserError: unknown pooling.
    """
    _check(kind)
    return _combine(average, maximum, kind)


def query_count(dim: int) -> int:
    """Number of queries for maps of ``dim`` channels: the largest divisor of ``dim`` up to ``QUERIES``."""
    return max(count for count in range(1, QUERIES + 1) if dim % count == 0)


def attention_pool(
    features: Float[Tensor, "batch dim rows columns"], queries: Float[Tensor, "queries dim"]
) -> Float[Tensor, "batch dim"]:
    """Pool a feature map by learned attention over its positions.

    Efficient probing (arXiv 2506.10178) without its projection of the values: query m weighs position j by
    softmax_j(q_m . x_j / sqrt(D)), from all channels, and averages with these weights the m-th of M equal slices of
    the channels. Queries of zeros weigh all positions alike, which is global average pooling.

    Args:
        features: a backbone's output.
        queries: M vectors; M divides ``dim``.

    Returns:
        one vector per image, the slices in order.
    """
    x = features.flatten(2)
    weights = (queries @ x / x.shape[1] ** 0.5).softmax(dim=2)
    slices = x.unflatten(1, (len(queries), -1))
    return (slices @ weights[..., None]).flatten(1)


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise UserError(f"unknown pooling {kind!r}; choose one of {', '.join(KINDS)}")


def _combine(average: Tensor | None, maximum: Tensor | None, kind: str) -> Tensor:
    if average is None or kind == "max":
        assert maximum is not None
        return maximum
    if maximum is None or kind == "avg":
        return average
    if kind == "cat":
        return torch.cat((average, maximum), dim=1)
    return (average + maximum) / 2 if kind == "gamp" else (average - maximum) / 2
