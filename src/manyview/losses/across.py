"""The image-aware loss over the vectors of all processes, of which each computes the terms of its own anchors.

As with OpenCLIP's local loss and gathered gradients, a process has only the rows of its own vectors of the similarity
matrix, and, as in Inf-CL (arXiv 2410.17243), only a block of them at a time. Vectors are gathered once. Where OpenCLIP
and DisCo-CLIP (arXiv 2304.08480) then sum the gradients in each other's vectors over processes, backward gathers five
numbers of each vector, from which a process computes the whole gradient of its own (``manyview.losses.streamed``).
"""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from manyview.distributed import gather, gather_unequal, rank, world_size
from manyview.losses.image_aware import check_arguments, image_aware_loss, numbered
from manyview.losses.inputs import ImageIds, Vectors, as_ids, as_vectors
from manyview.losses.streamed import Problem, block_size, streamed_terms
from manyview.precision import at_least_float32


def distributed_image_aware_loss(
    z: Vectors,
    image_ids: ImageIds,
    temperature: float = 0.3,
    form: str = "outside",
    shards: Int[Tensor, " vectors"] | None = None,
) -> Float[Tensor, ""]:
    """Image-Aware Contrastive loss over the vectors of all processes: ``image_aware_loss`` of those taken together.

    All processes must call this together, and differentiate it together, as DistributedDataParallel does. The value is
    the mean over all anchors, the same on every process. By the convention of ``manyview.distributed.gather`` a
    process's vectors get W times their gradient, of which DistributedDataParallel's average over W processes makes that
    of one process with all vectors. It can be differentiated once.

    Args:
        z: this process's vectors, as many on every process; as for ``image_aware_loss``.
        image_ids: image of each vector; an image may have vectors on several processes.
        temperature: tau, above 0.
        form: as for ``image_aware_loss``.
        shards: a number of each vector: vectors of other shards are neither positives nor negatives.

    Returns:
        a scalar, 0 or more, float32 or float64.

    Raises:
        UserError: as for ``image_aware_loss``, on every process.
    """
    z = as_vectors(z)
    image_ids = as_ids(image_ids, z.device)
    check_arguments(z, image_ids, temperature, form)
    if world_size() == 1 and shards is None:
        return image_aware_loss(z, image_ids, temperature, form)
    with torch.autocast(z.device.type, enabled=False):
        z = at_least_float32(z)
        unit, all_ids = gather(F.normalize(z.detach(), dim=1)), gather(image_ids)
        terms = []
        for own, everyone, first in _shards(len(z), None if shards is None else gather(shards)):
            ids, size_p = numbered(all_ids[everyone])
            everywhere = partial(gather_unequal, first=first, total=len(ids))
            problem = Problem(ids, size_p, temperature, form, block_size(z.device), first, everywhere)
            terms.append(streamed_terms(z[own], unit[everyone], problem, normalized=False))
        return gather(torch.cat(terms)).mean()


def _shards(count: int, shards: Int[Tensor, " all_vectors"] | None) -> list[tuple[Tensor | slice, Tensor | slice, int]]:
    """Of each shard: its vectors among this process's, among all, and where this process's begin among the latter."""
    begin = rank() * count
    if shards is None:
        return [(slice(None), slice(None), begin)]
    own = shards[begin : begin + count]
    return [
        ((own == shard).nonzero()[:, 0], (shards == shard).nonzero()[:, 0], int((shards[:begin] == shard).sum()))
        for shard in shards.unique()
    ]
