from __future__ import annotations

import gc
import sys
from pathlib import Path

import torch
from torch import Tensor

from tests.helpers.tiny import TinyNet, train_tiny

EPOCHS, STEPS = 5, 4
PASSES = 2 * STEPS  # of an epoch: one for either view of the pairs


class Weighing(TinyNet):
    """Notes, at the first pass of each epoch, how many tensors and other objects there are."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0
        self.tensors: list[int] = []
        self.blocks: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            if self.passes % PASSES == 0:
                gc.collect()  # what the run made; all else is frozen
                self.tensors.append(sum(type(each) is Tensor for each in gc.get_objects()))
                self.blocks.append(sys.getallocatedblocks())
            self.passes += 1
        return super().forward(x)


def test_a_run_keeps_nothing_of_its_steps(photos: Path, tmp_path: Path) -> None:
    network = Weighing()
    gc.freeze()
    try:
        train_tiny(photos, tmp_path / "run", backbone=network, epochs=EPOCHS)
    finally:
        gc.unfreeze()
    assert len(network.tensors) == EPOCHS
    assert len(set(network.tensors[1:])) == 1, network.tensors
    # Some 20 a step are the figures of recent steps, of which no more are kept in the end.
    assert network.blocks[-1] - network.blocks[1] < 80 * STEPS * (EPOCHS - 2), network.blocks
