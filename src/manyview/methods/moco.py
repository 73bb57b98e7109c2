"""MoCo v2: momentum contrast (arXiv 1911.05722) with an MLP head (arXiv 2003.04297).

Each query must be matched with its key, another view of the same image, among the keys of recent batches in a queue:

    L_q = -log( exp(q . k+ / tau) / sum_{i=0}^{K} exp(q . k_i / tau) )           (1911.05722, Eq. 1)
    theta_k <- m theta_k + (1 - m) theta_q                                        (1911.05722, Eq. 2)

The order is that of the paper's Algorithm 1: loss, step of the query encoder, update of the key encoder, queue.

Shuffling BN (1911.05722, Section 3.3): batch norms must not leak which key belongs to a query. In the paper, each of
eight devices normalizes its own eighth of the queries and of the shuffled keys. Here, on any number of processes, the
queries are normalized over the whole batch, and the keys separately in ``method.shuffled_parts`` parts of the shuffled
batch. So one process and several give equal results: ``MoCoConfig.check`` refuses parts that several processes cannot
share out evenly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from manyview import distributed
from manyview.backbones import Backbone
from manyview.config import ImageAwareConfig
from manyview.config.methods import MoCoConfig
from manyview.distributed import gather, rank, world_size
from manyview.heads import Head
from manyview.losses.similarity import at_least_float32
from manyview.methods.base import Method, MethodBatch, Moment
from manyview.methods.image_aware_term import add_image_aware
from manyview.methods.momentum import follow, slow_copy
from manyview.pooling import pool


class MoCo(Method):
    """MoCo v2: query and key encoder, and the queue of keys.

    Views 2k and 2k+1 of a group are its k-th query and its key.

    Args:
        backbone: query backbone, from images to feature maps; the key encoder starts as a copy.
        options: widths, temperature, momentum and queue size.
        image_aware: the image-aware loss of queries and keys, and its weight.
    """

    section = MoCoConfig
    parts: ClassVar[Mapping[str, str]] = {"backbone": "backbone", "projector": "projector"}
    advice = "try a smaller training.base_learning_rate, a larger method.queue or a method.momentum nearer to 1"

    def __init__(self, backbone: Backbone, options: MoCoConfig, image_aware: ImageAwareConfig) -> None:
        super().__init__()
        self.options = options
        self.image_aware = image_aware
        self.backbone = backbone
        width = backbone.out_channels
        self.projector = Head(
            nn.Linear(width, options.hidden_dim), nn.ReLU(inplace=True), nn.Linear(options.hidden_dim, options.dim)
        )
        self.key_backbone, self.key_projector = slow_copy(self.backbone), slow_copy(self.projector)
        self.queue: Tensor
        self.oldest: Tensor
        self.register_buffer("queue", F.normalize(torch.randn(options.queue, options.dim), dim=1))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.int64))
        self._new_keys: list[Tensor] = []

    def forward(self, batch: MethodBatch) -> dict[str, Tensor]:
        """Compute the loss of one batch; its keys are enqueued after the step.

        Returns:
            ``loss`` (Eq. 1), ``accuracy`` (fraction of queries to which no key of the queue is nearer than their own),
            ``info_nce`` and ``image_aware`` where the image-aware loss is added, float32 scalars, and ``z``
            (pairs, dim), the queries' projections before normalization, detached.
        """
        z = torch.cat([self._project(group[:, 0::2].flatten(0, 1)) for group in batch.groups])
        with torch.no_grad():
            keys = [self._keys(group[:, 1::2].flatten(0, 1), batch) for group in batch.groups]
        with torch.autocast(z.device.type, enabled=False):
            z = at_least_float32(z)
            own_keys = torch.cat([own for own, _ in keys])
            cosines = contrast(F.normalize(z, dim=1), own_keys, self.queue)
            loss = info_nce(cosines, self.options.temperature)
            accuracy = (cosines[:, 0] >= cosines.amax(dim=1)).to(z.dtype).mean()
        self._new_keys += [all_keys for _, all_keys in keys]
        result = {"loss": loss, "accuracy": accuracy, "z": z.detach()}
        return add_image_aware(result, "info_nce", self.image_aware, (z, z), (own_keys, own_keys), batch)

    @torch.no_grad()
    def after_step(self, moment: Moment) -> None:
        """Update the key encoder (Eq. 2), then replace the oldest keys of the queue by the newest."""
        follow(self.key_backbone, self.backbone, self.options.momentum)
        follow(self.key_projector, self.projector, self.options.momentum)
        for keys in self._new_keys:
            indices = (self.oldest + torch.arange(len(keys), device=keys.device)) % len(self.queue)
            self.queue[indices] = keys.to(self.queue.dtype)
            self.oldest.add_(len(keys)).remainder_(len(self.queue))
        self._new_keys.clear()

    def synchronize_norms(self) -> None:
        """Convert only the query backbone's batch norms; those of the keys normalize parts on one process."""
        self.backbone = distributed.synchronize_norms(self.backbone)

    def _project(self, images: Float[Tensor, "rows channels height width"]) -> Float[Tensor, "rows dim"]:
        projection: Tensor = self.projector(pool(self.backbone(images), kind="avg"))
        return projection

    def _keys(
        self, images: Float[Tensor, "rows channels height width"], batch: MethodBatch
    ) -> tuple[Float[Tensor, "rows dim"], Float[Tensor, "all_rows dim"]]:
        """Normalized keys of this process's images, and those of all processes in order of rank.

        Each process encodes an equal shard of the shuffled images of all processes, part by part.
        """
        rows, processes, own = len(images), world_size(), rank()
        order = batch.permutation(rows * processes)
        shuffled = gather(images)[order[own * rows : (own + 1) * rows]]
        parts = shuffled.tensor_split(self.options.shuffled_parts // processes)
        keys = torch.cat([self.key_projector(pool(self.key_backbone(part), kind="avg")) for part in parts])
        keys = F.normalize(at_least_float32(keys), dim=1)
        all_keys = gather(keys)[order.argsort()]
        return all_keys[own * rows : (own + 1) * rows], all_keys


def contrast(
    queries: Float[Tensor, "rows dim"], keys: Float[Tensor, "rows dim"], queue: Float[Tensor, "queued dim"]
) -> Float[Tensor, "rows queued+1"]:
    """Cosine similarity of each query with its own key, then with every key of the queue; all vectors have length 1."""
    return torch.cat([(queries * keys).sum(dim=1, keepdim=True), queries @ queue.T], dim=1)


def info_nce(cosines: Float[Tensor, "rows keys"], temperature: float) -> Float[Tensor, ""]:
    """Mean of Eq. 1 over queries, whose own key comes first."""
    return (cosines / temperature).logsumexp(dim=1).sub(cosines[:, 0] / temperature).mean()
