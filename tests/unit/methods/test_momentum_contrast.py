"""InfoNCE and the queue of keys, which several methods share; shuffling BN is tested with MoCo."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from manyview.methods.momentum_contrast import accuracy, contrast, enqueue, info_nce, random_queue
from references import dense_contrast as reference


def test_the_loss_is_the_papers_and_stable() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, queue = (
        nn.functional.normalize(torch.randn(rows, 4, generator=generator, dtype=torch.float64), dim=1)
        for rows in (3, 3, 6)
    )
    expected = np.mean([reference.info_nce(q[i].numpy(), k[i].numpy(), queue.numpy(), 0.07) for i in range(3)])
    assert info_nce(contrast(q, k, queue), 0.07).item() == pytest.approx(expected, rel=1e-12)
    assert info_nce(contrast(q.float(), k.float(), queue.float()), 1e-3).isfinite()


def test_the_accuracy_is_the_share_of_queries_nearest_to_their_own_key() -> None:
    cosines = torch.tensor([[0.9, 0.1, 0.8], [0.2, 0.3, 0.1], [0.5, 0.5, 0.4], [-0.5, -0.6, 0.0]])
    assert accuracy(cosines).item() == 0.5


def test_a_queue_that_is_no_multiple_of_the_batch_goes_round_too() -> None:
    """Queues of twelve, by five keys: each has the last twelve, in the same places."""
    queues, oldest = [torch.zeros(12, 2), torch.zeros(12, 3)], torch.zeros((), dtype=torch.int64)
    for number in range(4):
        enqueue(queues, [torch.full((5, 2), float(number)), torch.full((5, 3), 10.0 * number)], oldest)

    assert queues[0][:, 0].tolist() == [2.0] * 3 + [3.0] * 5 + [1.0] * 2 + [2.0] * 2
    assert torch.equal(queues[1][:, 0], 10 * queues[0][:, 0])
    assert int(oldest) == 20 % 12


def test_a_queue_begins_with_random_directions() -> None:
    torch.manual_seed(0)
    queue = random_queue(500, 8)
    torch.testing.assert_close(queue.norm(dim=1), torch.ones(500))
    assert queue.mean(dim=0).abs().max() < 0.1
