"""Values of weights that no training leaves behind: refused, or said where a network could still have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from torch import Tensor

from manyview.errors import UserError, first_few

_VARIANCE = "running_var"


def check_values(
    path: Path, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], named: Callable[[str], str] = str
) -> tuple[str, ...]:
    """Check weights before a network takes them.

    Args:
        path: their file, for messages.
        tensors: by the network's names.
        own: the network's weights, whose types they are converted to; of the same shapes.
        named: gives a name in the file.

    Returns:
        What is strange, in sentences: normalization layers whose running variances are all zero, and convolutions whose
        weights are.

    Raises:
        UserError: some are NaN or infinite, also once converted, are negative variances, or no real numbers.
    """
    wrong = {
        "are no real numbers": [
            key for key, value in tensors.items() if own[key].is_floating_point() and not value.is_floating_point()
        ],
        "are NaN or infinite": [
            key
            for key, value in tensors.items()
            if value.is_floating_point() and not _all_finite(value.to(own[key].dtype))
        ],
        "are negative variances": [
            key for key, value in tensors.items() if key.endswith(_VARIANCE) and bool((value < 0).any())
        ],
    }
    found = [
        f"{len(keys)} of {len(tensors)} {what} ({first_few([named(key) for key in keys])})"
        for what, keys in wrong.items()
        if keys
    ]
    if found:
        raise UserError(
            f"weights in {path} cannot be used: {'; '.join(found)}; training went wrong, or the file is damaged; "
            "take an earlier checkpoint, or download it again"
        )
    return tuple(_remarks(tensors))


def _remarks(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    zero = [key for key, value in tensors.items() if value.is_floating_point() and _all_zero(value)]
    norms = [key for key in zero if key.endswith(_VARIANCE)]
    convolutions = [key for key in zero if tensors[key].ndim == 4]
    if norms:
        yield (
            f"Running variances are all zero in {len(norms)} normalization layer{_s(norms)} ({first_few(norms)}), as "
            "after constant images"
        )
    if convolutions:
        yield f"Weights are all zero in {len(convolutions)} convolution{_s(convolutions)} ({first_few(convolutions)})"


def _all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite; a sum, which takes a tenth of the time, is finite only then."""
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


def _all_zero(values: Tensor) -> bool:
    """Whether there are values, and each is 0; mostly the first already is not."""
    return values.numel() > 0 and not values[(0,) * values.ndim] and not values.any()


def _s(names: list[str]) -> str:
    return "" if len(names) == 1 else "s"
