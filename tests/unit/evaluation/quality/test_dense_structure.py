"""The dense measure, against its definition written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from manyview.evaluation.quality.dense import dense_structure, dimensionality, k_means, radius, separation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(groups: int, clusters: int, each: int, dim: int, spread: float) -> tuple[Tensor, Tensor]:
    """Points around centers of length 1, and the center of each."""
    centers = torch.randn(groups, clusters, dim, generator=generator(1), dtype=torch.float64)
    labels = torch.arange(clusters).repeat_interleave(each)[torch.randperm(clusters * each, generator=generator(2))]
    noise = torch.randn(groups, clusters * each, dim, generator=generator(3), dtype=torch.float64)
    return centers[:, labels] + spread * noise, labels


def test_k_means_finds_what_scikit_learn_finds() -> None:
    x, truth = blobs(3, 5, 12, 8, 0.05)

    labels, centers = k_means(x, 5, generator())

    for points, found, middle in zip(x, labels, centers, strict=True):
        best = KMeans(5, n_init=20, random_state=0).fit(points.numpy())
        inertia = float((points - middle[found]).square().sum())
        # From one draw of initial centers, two may share a blob; never better than the best of twenty.
        assert inertia >= best.inertia_ * (1 - 1e-9)
        for cluster in range(5):
            if (found == cluster).any():
                torch.testing.assert_close(middle[cluster], points[found == cluster].mean(dim=0))
    agreeing = [len({(int(a), int(b)) for a, b in zip(found, truth, strict=True)}) == 5 for found in labels]
    assert sum(agreeing) >= 2


def test_k_means_of_equal_points() -> None:
    labels, centers = k_means(torch.ones(2, 6, 3, dtype=torch.float64), 4, generator())

    assert labels.unique().tolist() == [0]
    assert bool((centers == 1).all())


def test_terms_against_their_definition() -> None:
    x = torch.randn(2, 20, 6, generator=generator(5), dtype=torch.float64)
    labels, centers = k_means(x, 4, generator())

    distances, sums = [], []
    for points, cluster_of, middles in zip(x.numpy(), labels.numpy(), centers.numpy(), strict=True):
        for point, own in zip(points, cluster_of, strict=True):
            distances.append(min(np.linalg.norm(point - middles[c]) for c in range(4) if c != own))
        for c in set(cluster_of):
            members = points[cluster_of == c]
            if len(members) > 1:
                nuclear = np.linalg.norm(members - members.mean(0), "nuc")
                sums.append(nuclear / np.sqrt(max(len(members) - 1, 6)))
    assert separation(x, labels, centers) == pytest.approx(np.mean(distances), rel=1e-9)
    assert radius(x, labels) == pytest.approx(np.mean(sums), rel=1e-9)


def test_dimensionality_uses_each_location_once() -> None:
    z = torch.randn(7, 5, 4, generator=generator(6), dtype=torch.float64)

    found = dimensionality(z, generator(9))

    order = generator(9)
    drawn = [torch.randperm(5, generator=order).numpy() for _ in range(7)]
    ranks = []
    for place in range(5):
        sigma = np.linalg.svd(np.stack([z.numpy()[i, drawn[i][place]] for i in range(7)]), compute_uv=False)
        p = sigma / sigma.sum()
        ranks.append(np.exp(-(p * np.log(p)).sum()))
    assert found == pytest.approx(np.mean(ranks) / 4, rel=1e-9)


def maps_of(directions: Tensor, images: int = 16, side: int = 4) -> Tensor:
    """Feature maps whose locations point in some of these directions at random, with a little noise."""
    drawn = torch.randint(len(directions), (images, side, side), generator=generator(7))
    noise = torch.randn(images, side, side, directions.shape[1], generator=generator(8))
    return (directions[drawn] + 0.05 * noise).permute(0, 3, 1, 2).float()


def test_clusters_in_many_dimensions_are_best() -> None:
    many, few = torch.eye(32)[:20], torch.eye(32)[:2]
    noise = torch.randn(16, 32, 4, 4, generator=generator(4))

    assert dense_structure(maps_of(many)) > dense_structure(maps_of(few))
    assert dense_structure(maps_of(many)) > dense_structure(noise)


def test_it_depends_on_directions_alone_and_on_no_global_state() -> None:
    maps = torch.randn(20, 16, 4, 4, generator=generator(4))
    lengths = torch.rand(20, 1, 4, 4, generator=generator(5)) + 0.5

    state = torch.random.get_rng_state()
    first = dense_structure(maps)

    assert torch.equal(torch.random.get_rng_state(), state)
    assert dense_structure(maps) == first == dense_structure(maps[:16])  # the last four are no eight
    assert dense_structure(maps * lengths) == pytest.approx(first, abs=1e-5)
    assert dense_structure(maps, seed=1) != first


@pytest.mark.parametrize("shape", [(2, 5, 1, 1), (3, 8, 2, 1), (9, 4, 2, 2)])
def test_small_maps(shape: tuple[int, ...]) -> None:
    assert np.isfinite(dense_structure(torch.randn(shape, generator=generator())))


def test_collapsed_and_damaged_maps() -> None:
    assert dense_structure(torch.ones(8, 16, 4, 4)) == 1 / 8
    assert np.isnan(dense_structure(torch.full((8, 16, 4, 4), torch.nan)))
