"""Which torchvision ResNet a set of weights is of, by their names and shapes."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor

from manyview.backbones.build import RESNETS

_Shapes = frozenset[tuple[str, tuple[int, ...]]]


def infer_resnet(tensors: Mapping[str, Tensor]) -> str | None:
    """The ResNet that nearly all of these weights and no others fit; None where there is none.

    One weight too few or too many does not hide the network, so that what is wrong can be named.
    """
    if not any(name.startswith("layer4.") for name in tensors):
        return None
    found = _shapes(tensors)
    agreement = {name: len(found & _resnet(name)) / len(found | _resnet(name)) for name in RESNETS}
    best = max(agreement, key=agreement.__getitem__)
    return best if agreement[best] >= 0.9 else None


@functools.cache
def _resnet(name: str) -> _Shapes:
    from torchvision.models import get_model

    with torch.device("meta"):  # Shapes alone: no memory and no random numbers.
        return _shapes(get_model(name, weights=None).state_dict())


def _shapes(tensors: Mapping[str, Tensor]) -> _Shapes:
    """Names and shapes of what tells one network from another."""
    return frozenset(
        (name, tuple(tensor.shape))
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked") and not name.startswith("fc.")
    )
