"""From a feature map to a vector (paper Section 3.3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from manyview.errors import UserError

KINDS = ("gamp", "avg", "max", "avg_minus_max", "cat")


def pool(features: Float[Tensor, "batch dim rows columns"], kind: str = "gamp") -> Float[Tensor, "batch pooled"]:
    """Pool over all places of a feature map.

    Args:
        features: a backbone's output.
        kind: "avg" (GAP), "max" (GMP), "gamp" ((GAP + GMP)/2, the paper's), "avg_minus_max" ((GAP - GMP)/2, the same
            sentence of the paper read literally), "cat" (GAP beside GMP).

    Returns:
        one vector of ``dim`` numbers an image, or of 2 ``dim`` with "cat"; dtype of the features.

    Raises:
        UserError: unknown kind.
    """
    if kind not in KINDS:
        raise UserError(f"unknown pooling {kind!r}; choose one of {', '.join(KINDS)}")
    if kind == "max":
        return features.amax(dim=(2, 3))
    average = features.mean(dim=(2, 3))
    if kind == "avg":
        return average
    maximum = features.amax(dim=(2, 3))
    if kind == "cat":
        return torch.cat((average, maximum), dim=1)
    return (average + maximum) / 2 if kind == "gamp" else (average - maximum) / 2
