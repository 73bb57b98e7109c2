"""Scores with their labels, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from manyview.errors import UserError

# Shapes are checked by hand, for errors that a user understands.
Array = Shaped[np.ndarray, "..."]
Matrix = Array | Shaped[Tensor, "..."] | Sequence[Sequence[float | int]]
Vector = Array | Shaped[Tensor, "..."] | Sequence[float | int]


@dataclass(frozen=True, slots=True)
class LabeledScores:
    """Scores and labels of the same images and classes.

    Attributes:
        scores: probabilities in [0, 1], in the given float type.
        positives: where the label is 1 and counts.
        counted: where the label counts, as positive or as negative; elsewhere it is ignored.
    """

    scores: Shaped[np.ndarray, "images classes"]
    positives: Bool[np.ndarray, "images classes"]
    counted: Bool[np.ndarray, "images classes"]

    @classmethod
    def check(cls, scores: Matrix, targets: Matrix, ignored: Matrix | None = None) -> LabeledScores:
        """Check and convert scores and labels.

        Args:
            scores: probabilities (images, classes) in [0, 1], array, tensor on any device, or rows of numbers.
            targets: 0 or 1, of the same shape.
            ignored: 1 where a label is left out, else 0, of the same shape; None if nowhere.

        Raises:
            UserError: if the shapes differ or are not (images, classes) with at least one of each, if a score is
                outside [0, 1], if a target or an entry of ``ignored`` is neither 0 nor 1.
        """
        values, truth = as_array(scores), as_array(targets)
        if values.ndim != 2 or truth.ndim != 2 or 0 in values.shape:
            raise UserError(
                "scores and targets must both have the shape (images, classes) with at least one of each, "
                f"not {values.shape} and {truth.shape}"
            )
        if not np.issubdtype(values.dtype, np.floating):
            values = values.astype(np.float64)
        in_range = (values >= 0) & (values <= 1)
        if not in_range.all():
            raise UserError(
                f"scores must be probabilities from 0 to 1, but one is {values[~in_range][0]:g}: "
                "apply a sigmoid to logits first"
            )
        positives = _marks("targets", truth, values.shape)
        if ignored is None:
            return cls(values, positives, np.ones_like(positives))
        counted = ~_marks("ignored", as_array(ignored), values.shape)
        return cls(values, positives & counted, counted)


def as_array(values: Matrix | Vector | float | int) -> Array:
    """NumPy's view of an array, a tensor (bfloat16 as float32, which holds it exactly) or plain numbers."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return values.float().numpy() if values.dtype == torch.bfloat16 else values.numpy()
    return np.asarray(values)


def _marks(name: str, values: Array, shape: tuple[int, ...]) -> Bool[np.ndarray, "images classes"]:
    """Zeros and ones of this shape as booleans."""
    if values.shape != shape:
        raise UserError(f"scores have the shape {shape}, but {name} {values.shape}: they must be equal")
    is_mark = (values == 0) | (values == 1)
    if not is_mark.all():
        raise UserError(f"{name} must be 0 or 1, but one is {values[~is_mark][0]}")
    return values.astype(bool)
