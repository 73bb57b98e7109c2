from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from manyview.errors import UserError
from manyview.measures import alignment, alpha_req, collapse_std, effective_rank, uniformity


def expected_std(z: np.ndarray) -> float:
    z = z.astype(np.float64)
    directions = np.stack([row / np.linalg.norm(row) for row in z])
    deviations = [np.sqrt(np.sum((column - column.mean()) ** 2) / (len(z) - 1)) for column in directions.T]
    return float(np.mean(deviations) * np.sqrt(z.shape[1]))


def expected_rank(z: np.ndarray) -> float:
    sigma = np.linalg.svd(z.astype(np.float64), compute_uv=False)
    p = sigma / sigma.sum()
    return float(np.exp(-sum(share * np.log(share) for share in p if share > 0)))


def expected_alpha(z: np.ndarray, first: int, last: int) -> float:
    """Of a weighted regression on the eigenvalues of the covariance, solved by its normal equations."""
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(z.astype(np.float64), rowvar=False)))[::-1]
    k = np.arange(first, min(last, np.linalg.matrix_rank(z - z.mean(0))) + 1)
    design = np.stack([-np.log(k), np.ones(len(k))], axis=1)
    weights = np.diag(1 / k)
    slope, _ = np.linalg.solve(design.T @ weights @ design, design.T @ weights @ np.log(eigenvalues[k - 1]))
    return float(slope)


def unit_rows(z: np.ndarray) -> np.ndarray:
    return np.stack([row / np.linalg.norm(row) for row in z.astype(np.float64)])


def expected_uniformity(z: np.ndarray, t: float) -> float:
    pairs = itertools.combinations(unit_rows(z), 2)
    return math.log(np.mean([math.exp(-t * np.sum((x - y) ** 2)) for x, y in pairs]))


def expected_alignment(first: np.ndarray, second: np.ndarray, alpha: float) -> float:
    differences = unit_rows(first) - unit_rows(second)
    return float(np.mean([np.sqrt(np.sum(row**2)) ** alpha for row in differences]))


def cloud(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Vectors of unequal scale by dimension, off the origin."""
    random = np.random.default_rng(seed)
    return (random.normal(size=shape) * random.uniform(0.01, 3, size=shape[1]) + 0.5).astype(np.float32)


def with_spectrum(eigenvalues: np.ndarray, vectors: int, seed: int = 0) -> np.ndarray:
    """Vectors whose covariance has exactly these eigenvalues, in turned axes and off the origin."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(vectors, len(eigenvalues)))
    scores, _ = np.linalg.qr(scores - scores.mean(0))
    axes, _ = np.linalg.qr(random.normal(size=(len(eigenvalues), len(eigenvalues))))
    return scores * np.sqrt(eigenvalues * (vectors - 1)) @ axes + random.normal(size=len(eigenvalues))


@pytest.mark.parametrize("shape", [(2, 5), (30, 4), (6, 40), (16, 16), (9, 1)])
def test_measures_equal_their_definitions(shape: tuple[int, int]) -> None:
    z, other = cloud(shape, shape[0]), cloud(shape, 99)
    assert collapse_std(torch.from_numpy(z)) == pytest.approx(expected_std(z), rel=1e-9, abs=1e-12)
    assert effective_rank(torch.from_numpy(z)) == pytest.approx(expected_rank(z), rel=1e-6)
    for t in (0.5, 2.0):
        expected = expected_uniformity(z, t)
        assert uniformity(torch.from_numpy(z), t) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    for alpha in (1.0, 2.0):
        pairs = torch.from_numpy(z), torch.from_numpy(other)
        assert alignment(*pairs, alpha) == pytest.approx(expected_alignment(z, other, alpha), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("shape", "ranks"), [((300, 64), (11, 100)), ((40, 90), (11, 100)), ((150, 120), (3, 60))])
def test_alpha_equals_its_definition(shape: tuple[int, int], ranks: tuple[int, int]) -> None:
    z = cloud(shape, 7)
    assert alpha_req(torch.from_numpy(z), ranks) == pytest.approx(expected_alpha(z, *ranks), rel=1e-9)


def test_alpha_is_fitted_to_ranks_11_to_100_unless_told() -> None:
    z = cloud((300, 150), 8)
    assert alpha_req(torch.from_numpy(z)) == pytest.approx(expected_alpha(z, 11, 100), rel=1e-9)
    assert alpha_req(torch.from_numpy(z)) != pytest.approx(expected_alpha(z, 1, 150), rel=1e-2)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.5])
@pytest.mark.parametrize("vectors", [400, 121])
def test_alpha_finds_the_exponent_of_a_power_law(exponent: float, vectors: int) -> None:
    z = with_spectrum(np.arange(1, 121.0) ** -exponent, vectors)
    assert alpha_req(torch.from_numpy(z)) == pytest.approx(exponent, abs=1e-9)
    # In float32, as features are, the smallest eigenvalues are rounded but not lost.
    assert alpha_req(torch.from_numpy(z).float()) == pytest.approx(exponent, abs=1e-3)


def test_alpha_ignores_what_the_first_ten_directions_do() -> None:
    eigenvalues = np.arange(1, 121.0) ** -1
    eigenvalues[:10] *= np.geomspace(1e3, 2, 10)
    assert alpha_req(torch.from_numpy(with_spectrum(eigenvalues, 300))) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("directions", [1, 5, 19])
def test_alpha_of_too_few_directions_is_unknown(directions: int) -> None:
    random = np.random.default_rng(directions)
    z = random.normal(size=(200, directions)) @ random.normal(size=(directions, 64))
    assert math.isnan(alpha_req(torch.from_numpy(z)))
    assert math.isnan(alpha_req(torch.from_numpy(z).float()))


def test_alpha_of_the_fewest_directions_that_do() -> None:
    random = np.random.default_rng(0)
    z = random.normal(size=(200, 20)) @ random.normal(size=(20, 64))
    assert alpha_req(torch.from_numpy(z)) == pytest.approx(expected_alpha(z, 11, 20), rel=1e-6)


@pytest.mark.parametrize("dim", [3, 64])
def test_uniformity_of_directions_spread_evenly(dim: int) -> None:
    # E exp(2t cos - 2t) over the sphere, by the density of the angle to a fixed direction.
    angle = np.linspace(0, np.pi, 20_001)
    density = np.sin(angle) ** (dim - 2)
    expected = math.log(np.trapezoid(density * np.exp(4 * np.cos(angle) - 4), angle) / np.trapezoid(density, angle))
    z = torch.randn(3000, dim, generator=torch.Generator().manual_seed(dim))
    assert uniformity(z) == pytest.approx(expected, abs=0.01)


def test_uniformity_and_alignment_of_opposite_vectors() -> None:
    z = torch.tensor([[3.0, 4.0], [-6.0, -8.0]])
    assert uniformity(z) == pytest.approx(-8, rel=1e-12)
    assert uniformity(z, t=1) == pytest.approx(-4, rel=1e-12)
    assert alignment(z, -z) == pytest.approx(4, rel=1e-12)
    assert alignment(z, -z, alpha=1) == pytest.approx(2, rel=1e-12)


def test_alignment_of_right_angles_and_of_equal_directions() -> None:
    axes = torch.eye(5)
    assert alignment(axes, axes.roll(1, 0)) == pytest.approx(2, rel=1e-12)
    assert alignment(axes, 7 * axes) == 0


def test_uniformity_of_many_vectors_equals_that_of_the_definition() -> None:
    """More rows than are compared at a time."""
    z = torch.randn(1500, 3, generator=torch.Generator().manual_seed(5))
    unit = unit_rows(z.numpy())
    squares = 2 - 2 * unit @ unit.T
    expected = math.log(np.exp(-2 * squares[np.triu_indices(len(unit), 1)]).mean())
    assert uniformity(z) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_scale_does_not_matter(scale: float) -> None:
    z = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    scaled = z * scale
    assert collapse_std(scaled) == pytest.approx(collapse_std(z), rel=1e-5)
    assert effective_rank(scaled) == pytest.approx(effective_rank(z), rel=1e-5)
    assert uniformity(scaled) == pytest.approx(uniformity(z), rel=1e-5)
    assert alignment(scaled, z) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_scale_does_not_matter_for_alpha(scale: float) -> None:
    z = torch.from_numpy(cloud((200, 60), 3))
    assert alpha_req(z * scale) == pytest.approx(alpha_req(z), rel=1e-4)


@pytest.mark.parametrize("n", [1, 4, 33])
def test_identity_has_full_rank(n: int) -> None:
    assert effective_rank(torch.eye(n)) == pytest.approx(n)


@pytest.mark.parametrize("shape", [(8, 200), (200, 8), (64, 64)])
def test_equal_vectors_have_rank_one_and_no_standard_deviation(shape: tuple[int, int]) -> None:
    z = torch.randn(1, shape[1], generator=torch.Generator().manual_seed(2)).expand(shape).contiguous()
    assert effective_rank(z) == pytest.approx(1, abs=1e-3)
    assert collapse_std(z) == pytest.approx(0, abs=1e-6)
    assert uniformity(z) == pytest.approx(0, abs=1e-12)
    assert math.isnan(alpha_req(z))


def test_one_direction_at_many_lengths_is_collapsed() -> None:
    z = torch.linspace(0.1, 9, 32)[:, None] * torch.tensor([1.0, -2.0, 3.0])
    assert effective_rank(z) == pytest.approx(1, abs=1e-3)
    assert collapse_std(z) == pytest.approx(0, abs=1e-6)
    assert uniformity(z) == pytest.approx(0, abs=1e-12)


def test_vectors_of_zeros_are_collapsed() -> None:
    assert effective_rank(torch.zeros(4, 3)) == 1
    assert collapse_std(torch.zeros(4, 3)) == 0
    assert uniformity(torch.zeros(4, 3)) == 0
    assert alignment(torch.zeros(4, 3), torch.zeros(4, 3)) == 0
    assert math.isnan(alpha_req(torch.zeros(40, 30)))


def test_directions_spread_evenly_are_near_one() -> None:
    z = torch.randn(2000, 64, generator=torch.Generator().manual_seed(3))
    assert collapse_std(z) == pytest.approx(1, abs=0.01)


def test_one_vector_has_no_standard_deviation_and_no_uniformity() -> None:
    for measure in (collapse_std, uniformity):
        with pytest.raises(UserError, match="at least two vectors, not 1"):
            measure(torch.ones(1, 4))


def test_what_is_not_finite_has_no_measure() -> None:
    z = torch.randn(5, 3)
    z[2, 1] = float("nan")
    assert np.isnan(effective_rank(z))
    assert np.isnan(collapse_std(z))
    assert np.isnan(uniformity(z))
    assert np.isnan(alignment(z, torch.ones(5, 3)))
    assert np.isnan(alpha_req(torch.full((60, 50), float("inf"))))


def test_half_precision_and_gradients_are_accepted() -> None:
    z = torch.randn(16, 4, generator=torch.Generator().manual_seed(4)).bfloat16().requires_grad_()
    exact = z.detach().double().numpy()
    assert collapse_std(z) == pytest.approx(expected_std(exact), rel=1e-9)
    assert effective_rank(z) == pytest.approx(expected_rank(exact), rel=1e-6)
    assert uniformity(z) == pytest.approx(expected_uniformity(exact, 2), rel=1e-9)
    assert alignment(z, z.flip(0)) == pytest.approx(expected_alignment(exact, exact[::-1], 2), rel=1e-9)
