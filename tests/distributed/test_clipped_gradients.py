"""Clipping in two processes: the gradients of one process on the whole batch, shortened by the same factor."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from manyview.training.optimizer import clip_gradients
from tests.helpers.processes import in_processes, joined

LIMIT, ROWS = 0.1, 8


def clipped(rank: int, processes: int) -> list[Tensor]:
    """Gradients of this process's share of the rows, whose norm differs from those of the other shares."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x = torch.randn(ROWS, 5, generator=torch.Generator().manual_seed(1)).double()
    share = ROWS // processes
    module = nn.parallel.DistributedDataParallel(network) if processes > 1 else network
    module(x[rank * share : (rank + 1) * share]).square().mean().backward()
    clip_gradients(network.parameters(), LIMIT)
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


def work(rank: int, root: str) -> None:
    with joined(rank, Path(root)):
        torch.save(clipped(rank, 2), Path(root) / f"{rank}.pt")


def test_two_processes_clip_as_one(tmp_path: Path) -> None:
    in_processes(work, str(tmp_path))
    alone = clipped(0, 1)

    assert torch.cat([gradient.flatten() for gradient in alone]).norm().item() < LIMIT * 1.0001
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), alone, rtol=1e-9, atol=1e-12)
