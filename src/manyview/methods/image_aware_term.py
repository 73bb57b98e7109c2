"""The Image-Aware Contrastive loss as a term beside a method's own: L + lambda L_ia (arXiv 2506.23156, Eq. 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyview.config import ImageAwareConfig
from manyview.distributed import own_rows, world_size
from manyview.losses import distributed_image_aware_loss, image_aware_loss
from manyview.methods.base import MethodBatch
from manyview.precision import at_least_float32

Vectors = tuple[Float[Tensor, "pairs dim"], Float[Tensor, "pairs dim"]]
"""Predictions p and projections z of one view of each pair; of a method without predictor, z twice."""


def add_image_aware(
    result: dict[str, Tensor], name: str, options: ImageAwareConfig, first: Vectors, second: Vectors, batch: MethodBatch
) -> dict[str, Tensor]:
    """A method's result with lambda L_ia added to its loss; as it is where lambda is 0.

    Args:
        result: what the method's ``forward`` returns, with its own loss.
        name: under which that loss is logged beside L_ia.
        options: weight and form.
        first: vectors of the first view of each pair, ordered by group, image and pair.
        second: those of the second view.
        batch: the batch, with an even number of views in each group.

    Returns:
        ``result`` with the new ``loss``, the method's own under ``name``, and ``image_aware``.
    """
    if options.weight == 0:
        return result
    own = result["loss"]
    with torch.autocast(own.device.type, enabled=False):
        (p1, z1), (p2, z2) = (map(at_least_float32, vectors) for vectors in (first, second))
        ids = torch.cat([batch.image_ids.repeat_interleave(group.shape[1] // 2) for group in batch.groups])
        counts = [group.shape[0] * (group.shape[1] // 2) for group in batch.groups]
        drawn = batch.permutation(len(ids) * world_size())
        order = gathered_positions(counts, world_size()).to(drawn.device)[drawn]
        term = image_aware_term(options, (p1, z1), (p2, z2), ids, order)
        return {**result, "loss": own + options.weight * term, name: own.detach(), "image_aware": term.detach()}


def gathered_positions(counts: Sequence[int], processes: int) -> Int[Tensor, " all_pairs"]:
    """Where each pair of one process's batch, ordered by group, is among those gathered by process.

    Permutations of the pairs are then the same on any number of processes.

    Args:
        counts: pairs of each group on one process.
        processes: number of processes.
    """
    gathered = torch.arange(processes * sum(counts)).unflatten(0, (processes, sum(counts)))
    return torch.cat([part.flatten() for part in gathered.split(list(counts), dim=1)])


def image_aware_term(
    options: ImageAwareConfig,
    first: Vectors,
    second: Vectors,
    pair_ids: Int[Tensor, " pairs"],
    order: Int[Tensor, " all_pairs"],
) -> Float[Tensor, ""]:
    """L_ia over the pairs of all processes, times its factor.

    With several shards, the loss is computed separately on parts of the shuffled batch, as if on separate devices:
    views of an image in different shards are then no positives.

    Args:
        options: form, temperature, vectors, factor, shards.
        first: predictions p1 and projections z1 of the first view of each pair.
        second: p2 and z2 of the second.
        pair_ids: image of each pair.
        order: permutation of the pairs of all processes.
    """
    (p1, z1), (p2, z2) = first, second
    if options.stop_gradient:
        z1, z2 = z1.detach(), z2.detach()
    calls = {"crossed": ((p1, z2), (p2, z1)), "projections": ((z1, z2),), "predictions": ((p1, p2),)}
    parts = _by_shard if world_size() == 1 else _over_processes
    total = torch.zeros((), device=p1.device)
    for u, v in calls[options.vectors]:
        for loss, share in parts(options, u, v, pair_ids, order):
            total = total + loss * share / len(calls[options.vectors])
    factor = options.temperature / 0.07 if options.factor == "tau/0.07" else options.factor
    return total * factor


def _by_shard(
    options: ImageAwareConfig, u: Tensor, v: Tensor, pair_ids: Tensor, order: Tensor
) -> Iterator[tuple[Tensor, float]]:
    """L_ia of each shard, and its share of the pairs, so that unequal shards still give the mean over all anchors."""
    u, v, ids = u[order], v[order], pair_ids[order]
    for shard in torch.arange(len(ids), device=ids.device).tensor_split(options.shards):
        z, z_ids = torch.cat((u[shard], v[shard])), ids[shard].repeat(2)
        loss = image_aware_loss(z, z_ids, temperature=options.temperature, form=options.form)
        yield loss, len(shard) / len(ids)


def _over_processes(
    options: ImageAwareConfig, u: Tensor, v: Tensor, pair_ids: Tensor, order: Tensor
) -> Iterator[tuple[Tensor, float]]:
    """L_ia over all shards of the pairs of all processes, each of which computes the terms of its own vectors."""
    shards = torch.empty_like(order)
    for number, shard in enumerate(order.tensor_split(options.shards)):
        shards[shard] = number
    own = own_rows(shards).repeat(2) if options.shards > 1 else None
    z, ids = torch.cat((u, v)), pair_ids.repeat(2)
    yield distributed_image_aware_loss(z, ids, options.temperature, options.form, own), 1.0
