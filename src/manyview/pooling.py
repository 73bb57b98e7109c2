"""From a feature map to a vector (paper Section 3.3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from manyview.errors import UserError

KINDS = ("gamp", "avg", "max", "avg_minus_max", "cat")


def pool(features: Float[Tensor, "batch dim height width"], kind: str = "gamp") -> Float[Tensor, "batch pooled"]:
    """Pool each channel over the map.

    Args:
        features: a feature map.
        kind: "gamp", (GAP + GMP)/2, the paper's; "avg", GAP; "max", GMP; "avg_minus_max", (GAP - GMP)/2, the paper's
            sentence taken to the letter; "cat", GAP and GMP side by side.

    Returns:
        (batch, dim), or (batch, 2 dim) for "cat".

    Raises:
        UserError: unknown kind.
    """
    if kind not in KINDS:
        raise UserError(f"unknown pooling {kind!r}; choose from {', '.join(KINDS)}")
    average, maximum = features.mean((2, 3)), features.amax((2, 3))
    if kind == "avg":
        return average
    if kind == "max":
        return maximum
    if kind == "cat":
        return torch.cat((average, maximum), dim=1)
    return (average + maximum) / 2 if kind == "gamp" else (average - maximum) / 2
