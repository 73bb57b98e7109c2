"""Training of the linear head on batches of features (paper Section 4.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from manyview.backbones.blank import BlankWeights
from manyview.errors import UserError, require, require_seed
from manyview.optimizers import SGD
from manyview.runs.progress import Progress, no_progress

INITIAL_STD = 0.01

FeatureBatch = tuple[Float32[Tensor, "batch dim *map"], Float32[Tensor, "batch classes"]]
"""Pooled features, or feature maps for a head that pools them, and targets."""


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """Training settings of the head; the defaults are the paper's (batch size: the authors' code).

    Raises:
        UserError: if a number is out of range.
    """

    epochs: int = 100
    batch_size: int = 64
    base_learning_rate: float | int = 10.0
    weight_decay: float | int = 1e-4
    momentum: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"epochs must be at least 1, not {self.epochs}")
        require(self.batch_size >= 1, f"batch_size must be at least 1, not {self.batch_size}")
        rate, decay = self.base_learning_rate, self.weight_decay
        require(0 < rate < math.inf, f"base_learning_rate must be above 0, not {rate}")
        require(0 <= decay < math.inf, f"weight_decay must be at least 0, not {decay}")
        require(0 <= self.momentum < 1, f"momentum must be at least 0 and below 1, not {self.momentum}")
        require_seed(self.seed)

    @property
    def learning_rate(self) -> float:
        """Initial learning rate by the linear scaling rule: base x batch size / 256."""
        return self.base_learning_rate * self.batch_size / 256

    def learning_rate_at(self, epoch: int) -> float:
        """Cosine schedule from the learning rate towards 0, constant within an epoch."""
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))

    def steps_per_epoch(self, images: int) -> int:
        """Batches of an epoch; the last may be smaller."""
        return math.ceil(images / self.batch_size)


def shuffled_batches(settings: HeadSettings, images: int, first_epoch: int = 0) -> Iterator[list[tuple[int, int]]]:
    """(epoch, index) of every batch from an epoch on, each epoch in an order drawn from (seed, epoch)."""
    for epoch in range(first_epoch, settings.epochs):
        order = np.random.default_rng((settings.seed, epoch)).permutation(images).tolist()
        for start in range(0, images, settings.batch_size):
            yield [(epoch, index) for index in order[start : start + settings.batch_size]]


def new_head(dim: int, classes: int, seed: int, of: type[nn.Linear] = nn.Linear) -> nn.Linear:
    """Linear layer with weights from a normal distribution of standard deviation .01, and bias 0.

    Args:
        dim: of the features.
        classes: number of logits.
        seed: of the weights.
        of: the class of the layer; its other parameters are zero.
    """
    with BlankWeights():  # PyTorch's own initialization would draw from the global generator
        head = of(dim, classes)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    nn.init.normal_(head.weight, std=INITIAL_STD, generator=torch.Generator().manual_seed(seed))
    return head


def known_loss(
    logits: Float32[Tensor, "images classes"], targets: Float32[Tensor, "images classes"]
) -> Float32[Tensor, ""]:
    """Binary cross-entropy with logits, averaged over the known labels.

    Args:
        logits: of the head.
        targets: 0 or 1; nan for a label left out, such as Pascal VOC's "difficult" ones.
    """
    known = ~targets.isnan()
    if bool(known.all()):
        return nn.functional.binary_cross_entropy_with_logits(logits, targets)
    # Without known labels the sum is 0, but a mean would be 0 / 0.
    total = nn.functional.binary_cross_entropy_with_logits(logits[known], targets[known], reduction="sum")
    return total / max(int(known.sum()), 1)


class HeadTraining:
    """State of a head's training: weights, optimizer, and the mean loss of each epoch so far.

    Args:
        head: trained in place.
        settings: epochs, batch size, learning rate, weight decay, momentum.
    """

    def __init__(self, head: nn.Linear, settings: HeadSettings) -> None:
        self.head, self.settings = head, settings
        self.losses: list[float] = []
        self._optimizer = SGD(
            head.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.losses)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and momentum, on which the next epoch depends."""
        found = {name: parameter.detach().cpu().clone() for name, parameter in self.head.named_parameters()}
        for name, parameter in self.head.named_parameters():
            momentum = self._optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None:
                found[f"{name}.momentum"] = momentum.cpu().clone()
        return found

    def restore(self, tensors: Mapping[str, Tensor], losses: list[float]) -> None:
        """Resume from ``tensors`` and ``losses``."""
        self.losses = list(losses)
        for name, parameter in self.head.named_parameters():
            parameter.data.copy_(tensors[name])
            if f"{name}.momentum" in tensors:
                self._optimizer.state[parameter]["momentum_buffer"] = tensors[f"{name}.momentum"].to(parameter.device)

    def run_epoch(self, batches: Iterator[FeatureBatch], images: int) -> None:
        """Train for one epoch.

        Raises:
            UserError: if the loss or a weight is not finite.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.learning_rate_at(self.epoch)
        device = self.head.weight.device
        # Apple's devices lack float64.
        total = torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        for _ in range(self.settings.steps_per_epoch(images)):
            features, targets = next(batches)
            loss = known_loss(self.head(features), targets)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            total += loss.detach() * len(features)
        self.losses.append(float(total) / images)
        # An infinite weight would show in the loss only at the next step, and the last epoch has none.
        finite = all(bool(torch.isfinite(parameter).all()) for parameter in self.head.parameters())
        if not (math.isfinite(self.losses[-1]) and finite):
            raise UserError(
                f"the linear head diverged in epoch {self.epoch} of {self.settings.epochs} (loss {self.losses[-1]}): "
                f"lower base_learning_rate, which is {self.settings.base_learning_rate:g}"
            )


def train_head(
    batches: Iterator[FeatureBatch],
    training: HeadTraining,
    images: int,
    *,
    after_epoch: Callable[[HeadTraining], None] = lambda _: None,
    progress: Progress = no_progress,
    phase: str = "linear head",
) -> None:
    """Train a head for the remaining epochs.

    Args:
        batches: pooled features (B, D), or maps (B, D, h, w) for a head that pools them, and targets (B, C), 0 or 1,
            or nan where left out, on the head's device, in order, for all remaining epochs.
        training: new or resumed; its head ends with the last epoch's weights.
        images: images in an epoch.
        after_epoch: called after each epoch.
        progress: called after each epoch.
        phase: the description for progress.

    Raises:
        UserError: if the loss is not finite.
    """
    progress(training.epoch, training.settings.epochs, phase)
    while training.epoch < training.settings.epochs:
        training.run_epoch(batches, images)
        after_epoch(training)
        progress(training.epoch, training.settings.epochs, phase)
