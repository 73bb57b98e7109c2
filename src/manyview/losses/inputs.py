"""What losses take for vectors and image ids: tensors, NumPy arrays or lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyview.errors import UserError

Vectors: TypeAlias = Float[Tensor, "vectors dim"] | Float[np.ndarray, "vectors dim"] | Sequence[Any]
"""Rows of numbers; a list of tensors (dim,) keeps their gradients."""
ImageIds: TypeAlias = Int[Tensor, " vectors"] | Int[np.ndarray, " vectors"] | Sequence[int]


def as_vectors(z: Any) -> Tensor:
    """Vectors as a tensor (vectors, dim): a tensor as it is, an array in its precision, a list in float32.

    Raises:
        UserError: they are no rows of equally many numbers.
    """
    if isinstance(z, Tensor):
        if z.ndim != 2:
            raise UserError(f"z must be of shape (vectors, dim), not {tuple(z.shape)}: give one row for each vector")
        return z
    if isinstance(z, Sequence) and any(isinstance(row, Tensor) for row in z):
        rows = [row if isinstance(row, Tensor) else torch.as_tensor(row) for row in z]
        if len({tuple(row.shape) for row in rows}) == 1 and rows[0].ndim == 1:
            return torch.stack(rows)
        raise UserError("z is a list of tensors that are not all of one shape (dim,): stack or concatenate them")
    try:
        # Writeable, as PyTorch warns of others, such as those of a file that is mapped into memory.
        numbers = np.require(z, None if isinstance(z, np.ndarray) else np.float32, ["C", "W", "E"])
        if numbers.ndim != 2:
            raise ValueError(f"an array of shape {numbers.shape}")
        tensor = torch.from_numpy(numbers)
    except (TypeError, ValueError) as error:
        raise UserError(f"z must hold rows of equally many numbers, one a vector: {error}") from None
    return tensor if tensor.is_floating_point() else tensor.float()


def as_ids(image_ids: Any, device: torch.device) -> Tensor:
    """Image ids as a tensor (vectors,): a tensor as it is, arrays and lists as int64 on ``device``.

    Raises:
        UserError: they are no whole numbers, or not one for each vector.
    """
    if isinstance(image_ids, Tensor):
        if image_ids.ndim != 1:
            raise UserError(
                f"image_ids must be of shape (vectors,), not {tuple(image_ids.shape)}: give each vector one"
            )
        return image_ids
    try:
        numbers = np.asarray([int(each) if isinstance(each, Tensor) else each for each in image_ids])
    except (TypeError, ValueError) as error:
        raise UserError(f"image_ids must hold a whole number for each vector: {error}") from None
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise UserError(
            f"image_ids must hold a whole number for each vector, not {numbers.dtype.name} of shape {numbers.shape}; "
            "names become numbers with numpy.unique(names, return_inverse=True)[1]"
        )
    return torch.from_numpy(numbers.astype(np.int64)).to(device)
