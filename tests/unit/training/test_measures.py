from __future__ import annotations

import numpy as np
import pytest
import torch

from manyview.errors import UserError
from manyview.training.measures import collapse_std, effective_rank


def expected_std(z: np.ndarray) -> float:
    z = z.astype(np.float64)
    directions = np.stack([row / np.linalg.norm(row) for row in z])
    deviations = [np.sqrt(np.sum((column - column.mean()) ** 2) / (len(z) - 1)) for column in directions.T]
    return float(np.mean(deviations) * np.sqrt(z.shape[1]))


def expected_rank(z: np.ndarray) -> float:
    sigma = np.linalg.svd(z.astype(np.float64), compute_uv=False)
    p = sigma / sigma.sum()
    return float(np.exp(-sum(share * np.log(share) for share in p if share > 0)))


@pytest.mark.parametrize("shape", [(2, 5), (30, 4), (6, 40), (16, 16), (9, 1)])
def test_measures_equal_their_definitions(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(shape[0])
    z = (random.normal(size=shape) * random.uniform(0.01, 3, size=shape[1]) + 0.5).astype(np.float32)
    assert collapse_std(torch.from_numpy(z)) == pytest.approx(expected_std(z), rel=1e-9, abs=1e-12)
    assert effective_rank(torch.from_numpy(z)) == pytest.approx(expected_rank(z), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_scale_does_not_matter(scale: float) -> None:
    z = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    scaled = z * scale
    assert collapse_std(scaled) == pytest.approx(collapse_std(z), rel=1e-5)
    assert effective_rank(scaled) == pytest.approx(effective_rank(z), rel=1e-5)


@pytest.mark.parametrize("n", [1, 4, 33])
def test_identity_has_full_rank(n: int) -> None:
    assert effective_rank(torch.eye(n)) == pytest.approx(n)


@pytest.mark.parametrize("shape", [(8, 200), (200, 8), (64, 64)])
def test_equal_vectors_have_rank_one_and_no_deviation(shape: tuple[int, int]) -> None:
    z = torch.randn(1, shape[1], generator=torch.Generator().manual_seed(2)).expand(shape).contiguous()
    assert effective_rank(z) == pytest.approx(1, abs=1e-3)
    assert collapse_std(z) == pytest.approx(0, abs=1e-6)


def test_one_direction_at_many_lengths_is_collapsed() -> None:
    z = torch.linspace(0.1, 9, 32)[:, None] * torch.tensor([1.0, -2.0, 3.0])
    assert effective_rank(z) == pytest.approx(1, abs=1e-3)
    assert collapse_std(z) == pytest.approx(0, abs=1e-6)


def test_vectors_of_zeros_are_collapsed() -> None:
    assert effective_rank(torch.zeros(4, 3)) == 1
    assert collapse_std(torch.zeros(4, 3)) == 0


def test_directions_spread_evenly_are_near_one() -> None:
    z = torch.randn(2000, 64, generator=torch.Generator().manual_seed(3))
    assert collapse_std(z) == pytest.approx(1, abs=0.01)


def test_one_vector_has_no_deviation() -> None:
    with pytest.raises(UserError, match="at least two vectors, not 1"):
        collapse_std(torch.ones(1, 4))


def test_what_is_not_finite_has_no_measure() -> None:
    z = torch.randn(5, 3)
    z[2, 1] = float("nan")
    assert np.isnan(effective_rank(z))
    assert np.isnan(collapse_std(z))


def test_half_precision_and_gradients_are_accepted() -> None:
    z = torch.randn(16, 4, generator=torch.Generator().manual_seed(4)).bfloat16().requires_grad_()
    exact = z.detach().double().numpy()
    assert collapse_std(z) == pytest.approx(expected_std(exact), rel=1e-9)
    assert effective_rank(z) == pytest.approx(expected_rank(exact), rel=1e-6)
