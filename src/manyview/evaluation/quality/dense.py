"""Label-free measure of feature maps: how well their locations fall into clusters, in how many dimensions.

RankMe and its kin, measured on one vector an image, were found to go against what a backbone is worth for segmentation;
the Dense representation Structure Estimator (DSE; Dai et al., NeurIPS 2025, arXiv 2510.17299) went with it (Kendall's
tau .57 over checkpoints of sixteen methods).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn import functional as F

from manyview.measures import effective_rank
from manyview.runtime import single_thread

IMAGES_TOGETHER = 8
"""Images whose locations are clustered together."""
CLUSTERS, CLUSTERS_OF_AN_IMAGE = 24, 3
_ITERATIONS = 20


def dense_structure(maps: Float[Tensor, "images dim rows columns"], seed: int = 0) -> float:
    """DSE = M_inter - M_intra + M_dim (arXiv 2510.17299, Eq. 5), as the authors' code scales it.

    The vectors z are those of all locations, at length 1; distances are divided by the mean distance from their mean.

    - M_inter: mean distance of a location to the nearest center of another cluster; by k-means with 24 clusters on the
      locations of eight images at a time.
    - M_intra: mean over clusters of the sum of singular values of their centered vectors / sqrt(max(members - 1, dim));
      half of it for the same clusters, half for three clusters of the locations of each image. Clusters of one
      location are left out.
    - M_dim: effective rank of one location of each image / min(images, dim), a mean over all locations in a random
      order.

    The paper weighs M_dim with lambda, the ratio of standard deviations over the checkpoints of a run, which are not
    known while it trains; the authors' code, and this, have 1. Of maps with few locations, fewer clusters are made: at
    most half as many as there are locations. Values of maps of another size are therefore not comparable.

    Args:
        maps: feature maps of at least two images; of images beyond the last eight, none are used if there are eight.
        seed: of the k-means and of the order of the locations.

    Returns:
        higher is better; NaN if the maps are not finite.
    """
    z = F.normalize(maps.detach().cpu().double().flatten(2).transpose(1, 2), dim=2)
    if not bool(z.isfinite().all()):
        return float("nan")
    together = min(IMAGES_TOGETHER, len(z))
    z = z[: len(z) // together * together]
    images, locations, dim = z.shape
    deviation = float((z - z.mean(dim=(0, 1))).norm(dim=2).mean())
    if deviation < torch.finfo(maps.dtype).eps:  # all directions are equal
        return 1 / min(images, dim)
    generator = torch.Generator().manual_seed(seed)
    groups = z.reshape(-1, together * locations, dim)
    with single_thread():
        labels, centers = k_means(groups, max(2, min(CLUSTERS, groups.shape[1] // 2)), generator)
        own, _ = k_means(z, max(1, min(CLUSTERS_OF_AN_IMAGE, locations // 2)), generator)
        intra = (radius(groups, labels) + radius(z, own)) / 2
        spread = dimensionality(z, generator)
    return (separation(groups, labels, centers) - intra) / deviation + spread


def separation(
    x: Float64[Tensor, "groups points dim"],
    labels: Int64[Tensor, "groups points"],
    centers: Float64[Tensor, "groups clusters dim"],
) -> float:
    """Mean distance of a point to the nearest center of another cluster of its group, before scaling (M_inter)."""
    distances = torch.cdist(x, centers)
    return float(distances.scatter(2, labels[:, :, None], torch.inf).min(dim=2).values.mean())


def radius(x: Float64[Tensor, "groups points dim"], labels: Int64[Tensor, "groups points"]) -> float:
    """Scaled sum of singular values of the centered points, a mean over clusters of two points or more (M_intra).

    Returns:
        0 without such clusters.
    """
    found = []
    for points, cluster_of in zip(x, labels, strict=True):
        for cluster in cluster_of.unique():
            members = points[cluster_of == cluster]
            if len(members) > 1:
                size = max(len(members) - 1, members.shape[1]) ** 0.5
                found.append(float(torch.linalg.svdvals(members - members.mean(dim=0)).sum()) / size)
    return sum(found) / len(found) if found else 0.0


def dimensionality(z: Float64[Tensor, "images locations dim"], generator: torch.Generator) -> float:
    """Mean share of the effective rank of one location of each image, each location once (M_dim)."""
    order = torch.stack([torch.randperm(z.shape[1], generator=generator) for _ in z])
    drawn = z.gather(1, order[:, :, None].expand_as(z))
    ranks = [effective_rank(vectors) for vectors in drawn.unbind(1)]
    return sum(ranks) / len(ranks) / min(z.shape[0], z.shape[2])


def k_means(
    x: Float64[Tensor, "groups points dim"], clusters: int, generator: torch.Generator
) -> tuple[Int64[Tensor, "groups points"], Float64[Tensor, "groups clusters dim"]]:
    """k-means of each group by itself (Lloyd's algorithm from k-means++; Arthur and Vassilvitskii, 2007).

    Args:
        x: points.
        clusters: number of them in each group.
        generator: of the initial centers.

    Returns:
        the cluster of each point, and the centers; a cluster that lost its points keeps its center.
    """
    centers = _initial_centers(x, clusters, generator)
    for _ in range(_ITERATIONS):
        member = F.one_hot(torch.cdist(x, centers).argmin(dim=2), clusters).to(x.dtype)
        counts = member.sum(dim=1)[:, :, None]
        moved = torch.where(counts > 0, member.transpose(1, 2) @ x / counts.clamp(min=1), centers)
        if torch.equal(moved, centers):
            break
        centers = moved
    return torch.cdist(x, centers).argmin(dim=2), centers


def _initial_centers(
    x: Float64[Tensor, "groups points dim"], clusters: int, generator: torch.Generator
) -> Float64[Tensor, "groups clusters dim"]:
    """Points drawn with probability by their squared distance from the nearest center drawn before."""
    groups, points, _ = x.shape
    rows = torch.arange(groups)
    centers = x[rows, torch.randint(points, (groups,), generator=generator)][:, None]
    for _ in range(clusters - 1):
        squares = torch.cdist(x, centers).square().min(dim=2).values
        # Where all points are centers already, any is drawn.
        weights = squares + (squares.sum(dim=1, keepdim=True) <= 0)
        drawn = torch.multinomial(weights, 1, generator=generator)[:, 0]
        centers = torch.cat([centers, x[rows, drawn][:, None]], dim=1)
    return centers
