"""The losses that are compared: each a function of vectors that lie in the order of their images."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from unittest.mock import patch

import torch
from torch import Tensor

from manyview.losses import image_aware, image_aware_loss

VIEWS, TEMPERATURE = 8, 0.1
"""Vectors of an image, as two views of each of four blocks give; and the temperature of all."""
Loss = Callable[[Tensor], Tensor]
_one_at_a_time = Lock()
"""Held while manyview's limit of the whole matrix is another: contestants run in threads, too."""


@dataclass(frozen=True)
class Contestant:
    """A loss, from vectors that are not normalized to a scalar.

    Attributes:
        name: for the tables.
        how: what is called, for the tables.
        prepare: from a number of vectors and their device to the loss; imports what it needs.
        pairs: whether only the other vector of a pair is a positive, not all of an image.
        package: that must be installed.
    """

    name: str
    how: str
    prepare: Callable[[int, torch.device], Loss]
    pairs: bool = False
    package: str = "manyview"

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None


def image_ids(count: int, device: torch.device, views: int = VIEWS) -> Tensor:
    return torch.arange(count, device=device) // views


def ours(dense: bool, views: int = VIEWS) -> Callable[[int, torch.device], Loss]:
    def prepare(count: int, device: torch.device) -> Loss:
        ids = image_ids(count, device, views)

        def loss(z: Tensor) -> Tensor:
            with _one_at_a_time, patch.object(image_aware, "DENSE", count if dense else 0):
                return image_aware_loss(z, ids, TEMPERATURE, "out")

        return loss

    return prepare


def metric_learning(count: int, device: torch.device) -> Loss:
    from pytorch_metric_learning.losses import SupConLoss

    loss, ids = SupConLoss(temperature=TEMPERATURE), image_ids(count, device)
    return lambda z: loss(z, ids)


def lightly(count: int, device: torch.device) -> Loss:
    from lightly.loss import NTXentLoss

    loss = NTXentLoss(temperature=TEMPERATURE)
    return lambda z: loss(z[0::2], z[1::2])


STREAMED, DENSE = "manyview, in blocks", "manyview, whole matrix"
CONTESTANTS = (
    Contestant(STREAMED, '`image_aware_loss(form="out")`, as beyond 4,096 vectors', ours(dense=False)),
    Contestant(DENSE, "the same, as up to 4,096 vectors", ours(dense=True)),
    Contestant("pytorch-metric-learning", "`SupConLoss`", metric_learning, package="pytorch_metric_learning"),
    Contestant("lightly", "`NTXentLoss`: pairs", lightly, pairs=True, package="lightly"),
)
