from __future__ import annotations

import numpy as np
import pytest
import torch

from manyview.losses import negative_cosine_similarity, symmetric_similarity
from references import contrastive


def vectors(seed: int, count: int) -> list[torch.Tensor]:
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 7)), int(random.integers(1, 9)))
    return [torch.from_numpy(random.normal(size=shape) * 10).requires_grad_() for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_values_equal_the_definition(seed: int) -> None:
    p1, z1, p2, z2 = vectors(seed, 4)
    arrays = [x.detach().numpy() for x in (p1, z1, p2, z2)]
    assert negative_cosine_similarity(p1, z1).item() == pytest.approx(contrastive.negative_cosine(*arrays[:2]))
    for stop in (True, False):
        value = symmetric_similarity(p1, z1, p2, z2, stop_gradient=stop).item()
        assert value == pytest.approx(contrastive.similarity(*arrays))


def test_range_is_from_minus_one_to_one() -> None:
    z = torch.randn(4, 3)
    assert negative_cosine_similarity(5 * z, z).item() == pytest.approx(-1)
    assert negative_cosine_similarity(-z, 3 * z).item() == pytest.approx(1)


def test_gradient_flows_into_both_arguments() -> None:
    p, z = vectors(1, 2)
    assert torch.autograd.gradcheck(negative_cosine_similarity, (p, z))
    negative_cosine_similarity(p, z).backward()
    assert p.grad is not None
    assert z.grad is not None
    assert bool(p.grad.any())
    assert bool(z.grad.any())


@pytest.mark.parametrize("stop", [True, False])
def test_stop_gradient_makes_projections_constant(stop: bool) -> None:
    p1, z1, p2, z2 = vectors(2, 4)
    symmetric_similarity(p1, z1, p2, z2, stop_gradient=stop).backward()
    for p in (p1, p2):
        assert p.grad is not None
        assert bool(p.grad.any())
    for z in (z1, z2):
        assert (z.grad is None or not bool(z.grad.any())) is stop
