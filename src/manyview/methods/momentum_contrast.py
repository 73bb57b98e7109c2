"""What the methods of momentum contrast share: InfoNCE, the queue of keys, and shuffling batch normalization.

A query q must be matched with its key k+, another view of the same image, among the keys of recent batches:

    L_q = -log( exp(q . k+ / tau) / sum_{i=0}^{K} exp(q . k_i / tau) )           (arXiv 1911.05722, Eq. 1)

Shuffling BN (1911.05722, Section 3.3): batch norms must not leak which key belongs to a query. In the paper, each of
eight devices normalizes its own eighth of the queries and of the shuffled keys. Here, on any number of processes, the
queries are normalized over the whole batch, and the keys separately in ``method.shuffled_parts`` parts of the shuffled
batch. So one process and several give equal results: ``MomentumContrastConfig.check`` refuses parts that several
processes cannot share out evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from manyview.config.methods import MomentumContrastConfig
from manyview.distributed import gather, own_rows, world_size
from manyview.methods.base import MethodBatch
from manyview.precision import at_least_float32


def contrast(
    queries: Float[Tensor, "rows dim"], keys: Float[Tensor, "rows dim"], queue: Float[Tensor, "queued dim"]
) -> Float[Tensor, "rows queued+1"]:
    """Cosine similarity of each query with its own key, then with every key of the queue; all vectors have length 1."""
    return torch.cat([(queries * keys).sum(dim=1, keepdim=True), queries @ queue.T], dim=1)


def info_nce(cosines: Float[Tensor, "rows keys"], temperature: float) -> Float[Tensor, ""]:
    """Mean of Eq. 1 over queries, whose own key comes first."""
    return (cosines / temperature).logsumexp(dim=1).sub(cosines[:, 0] / temperature).mean()


def accuracy(cosines: Float[Tensor, "rows keys"]) -> Float[Tensor, ""]:
    """Fraction of queries to which no key of the queue is nearer than their own."""
    return (cosines[:, 0] >= cosines.amax(dim=1)).to(cosines.dtype).mean()


def random_queue(keys: int, dim: int) -> Float[Tensor, "keys dim"]:
    """Random unit vectors, with which a queue begins."""
    return F.normalize(torch.randn(keys, dim), dim=1)


@torch.no_grad()
def enqueue(
    queues: Sequence[Float[Tensor, "queued _"]], newest: Sequence[Float[Tensor, "rows _"]], oldest: Int[Tensor, ""]
) -> None:
    """Replace the oldest keys of queues by the newest.

    Args:
        queues: of equal length, changed here.
        newest: keys for each of the queues.
        oldest: index of the oldest key, advanced here.
    """
    indices = (oldest + torch.arange(len(newest[0]), device=oldest.device)) % len(queues[0])
    for queue, keys in zip(queues, newest, strict=True):
        queue[indices] = keys.to(queue.dtype)
    oldest.add_(len(newest[0])).remainder_(len(queues[0]))


def queue_remedies(options: MomentumContrastConfig) -> list[str]:
    """What may help against collapse, of the settings of a queue and a momentum encoder."""
    return [
        f"a larger method.queue (it was {options.queue})",
        f"a higher method.momentum (it was {options.momentum:g})",
    ]


@torch.no_grad()
def encode_keys(
    encode: Callable[[Tensor], Sequence[Tensor]],
    images: Float[Tensor, "rows channels height width"],
    batch: MethodBatch,
    parts: int,
) -> list[Float[Tensor, "all_rows dim ..."]]:
    """Normalized keys of the images of all processes, in order of rank.

    Each process encodes an equal shard of the shuffled images of all processes, part by part.

    Args:
        encode: the key encoder, from images to one or more tensors with a row for each image, of whose vectors the
            elements lie along dimension 1.
        images: of this process.
        batch: the batch that they belong to, for its permutation.
        parts: number of parts over all processes.
    """
    processes = world_size()
    order = batch.permutation(len(images) * processes)
    shuffled = gather(images)[own_rows(order)]
    encoded = zip(*(encode(part) for part in shuffled.tensor_split(parts // processes)), strict=True)
    unshuffle = order.argsort()
    return [gather(F.normalize(at_least_float32(torch.cat(vectors)), dim=1))[unshuffle] for vectors in encoded]
