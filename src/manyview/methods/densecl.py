"""DenseCL: dense contrastive learning (arXiv 2011.09157), beside the global contrast of MoCo v2.

    L = (1 - lambda) L_q + lambda L_r                                                  (Eq. 3)

L_q is MoCo's InfoNCE of global vectors (Eq. 1). For L_r, a second head gives each view a grid of S x S dense vectors r,
each of which must be matched with one of its key's dense vectors t+, among the means t- of the grids of other keys:

    L_r = 1/S^2 sum_s -log( exp(r_s . t+ / tau) / (exp(r_s . t+ / tau) + sum_t- exp(r_s . t- / tau)) )        (Eq. 2)

The one that vector s is matched with stands where the backbones' features, f of the query and f' of the key, are the
most similar: argmax_j cos(f_s, f'_j)                                                                         (Eq. 4)

Queues, shuffling BN and the update of the key encoder are MoCo's (``momentum_contrast.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from manyview import distributed
from manyview.backbones import Backbone
from manyview.config import ImageAwareConfig, PretrainConfig
from manyview.config.methods import DenseCLConfig
from manyview.distributed import own_rows
from manyview.heads import MoCoProjector
from manyview.methods.base import Method, MethodBatch, Moment
from manyview.methods.image_aware_term import add_image_aware
from manyview.methods.momentum import follow, slow_copy
from manyview.methods.momentum_contrast import (
    accuracy,
    contrast,
    encode_keys,
    enqueue,
    info_nce,
    queue_remedies,
    random_queue,
)
from manyview.methods.pairs import sides
from manyview.pooling import pool
from manyview.precision import at_least_float32


class Encoded(NamedTuple):
    """What an encoder gives of each image; vectors lie along dimension 1.

    Attributes:
        vectors: Float[Tensor, "rows dim"], global projections.
        dense: Float[Tensor, "rows dim positions"], dense projections.
        means: Float[Tensor, "rows dim"], means of the dense projections over positions.
        features: Float[Tensor, "rows channels positions"], the backbone's features.
    """

    vectors: Tensor
    dense: Tensor
    means: Tensor
    features: Tensor


class DenseCL(Method):
    """DenseCL: query and key encoder with a global and a dense head each, and the queues of their keys.

    Views 2k and 2k+1 of a group are its k-th query and its key: two crops of the same block, or of the whole image.

    Args:
        backbone: query backbone, from images to feature maps; the key encoder starts as a copy.
        options: widths, temperature, momentum, queue size, weight and grid of the dense loss.
        image_aware: the image-aware loss of global queries and keys, and its weight.
    """

    section = DenseCLConfig
    parts: ClassVar[Mapping[str, str]] = {"backbone": "backbone", "projector": "projector"}

    def __init__(self, backbone: Backbone, options: DenseCLConfig, image_aware: ImageAwareConfig) -> None:
        super().__init__()
        self.options = options
        self.image_aware = image_aware
        self.backbone = backbone
        width, hidden, dim = backbone.out_channels, options.hidden_dim, options.dim
        self.projector = MoCoProjector(width, hidden, dim)
        self.dense_projector = nn.Sequential(
            nn.Conv2d(width, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, dim, 1)
        )
        self.key_backbone, self.key_projector = slow_copy(self.backbone), slow_copy(self.projector)
        self.key_dense_projector = slow_copy(self.dense_projector)
        self.queue: Tensor
        self.dense_queue: Tensor
        self.oldest: Tensor
        self.register_buffer("queue", random_queue(options.queue, dim))
        self.register_buffer("dense_queue", random_queue(options.queue, dim))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.int64))
        self._new_keys: list[tuple[Tensor, Tensor]] = []

    def forward(self, batch: MethodBatch) -> dict[str, Tensor]:
        """Compute the loss of one batch; its keys are enqueued after the step.

        Returns:
            ``loss`` (Eq. 3), ``info_nce`` (L_q), ``dense`` (L_r), ``accuracy`` (fraction of global queries to which no
            key of the queue is nearer than their own), ``densecl`` and ``image_aware`` where the image-aware loss is
            added, float32 scalars, and ``z`` (pairs, dim), the queries' projections before normalization, detached.
        """
        firsts, seconds = sides(batch.groups)
        queries = [self._encode(self.backbone, self.projector, self.dense_projector, images) for images in firsts]
        keys = [self._keys(images, batch) for images in seconds]
        own = [Encoded(*map(own_rows, everyones)) for everyones in keys]
        with torch.autocast(queries[0].vectors.device.type, enabled=False):
            z = at_least_float32(torch.cat([query.vectors for query in queries]))
            own_keys = torch.cat([key.vectors for key in own])
            cosines = contrast(F.normalize(z, dim=1), own_keys, self.queue)
            info = info_nce(cosines, self.options.temperature)
            dense = self._dense_loss(queries, own)
            loss = (1 - self.options.dense_weight) * info + self.options.dense_weight * dense
        self._new_keys += [(key.vectors, key.means) for key in keys]
        scalars = {"info_nce": info.detach(), "dense": dense.detach(), "accuracy": accuracy(cosines.detach())}
        result = {"loss": loss, **scalars, "z": z.detach()}
        return add_image_aware(result, "densecl", self.image_aware, (z, z), (own_keys, own_keys), batch)

    @torch.no_grad()
    def after_step(self, moment: Moment) -> None:
        """Update the key encoder, then replace the oldest keys of both queues by the newest."""
        for name in ("backbone", "projector", "dense_projector"):
            follow(self.get_submodule(f"key_{name}"), self.get_submodule(name), self.options.momentum)
        for keys in self._new_keys:
            enqueue([self.queue, self.dense_queue], keys, self.oldest)
        self._new_keys.clear()

    def remedies(self, config: PretrainConfig) -> list[str]:
        """What may help against collapse, the most reliable first."""
        return super().remedies(config) + queue_remedies(self.options)

    def synchronize_norms(self) -> None:
        """Convert only the query backbone's batch norms; those of the keys normalize parts on one process."""
        self.backbone = distributed.synchronize_norms(self.backbone)

    def _dense_loss(self, queries: list[Encoded], keys: list[Encoded]) -> Float[Tensor, ""]:
        """L_r (Eq. 2), the mean over the queries of all groups, whose grids may differ."""
        total, rows = torch.zeros((), device=self.queue.device), sum(len(query.dense) for query in queries)
        for query, key in zip(queries, keys, strict=True):
            r = F.normalize(at_least_float32(query.dense), dim=1)
            matches = correspondence(at_least_float32(query.features.detach()), key.features)
            cosines = contrast(by_position(r), by_position(matched(key.dense, matches)), self.dense_queue)
            total = total + info_nce(cosines, self.options.temperature) * (len(r) / rows)
        return total

    def _keys(self, images: Float[Tensor, "rows channels height width"], batch: MethodBatch) -> Encoded:
        """Normalized keys of the images of all processes, in order of rank."""

        def encode(part: Tensor) -> Encoded:
            return self._encode(self.key_backbone, self.key_projector, self.key_dense_projector, part)

        return Encoded(*encode_keys(encode, images, batch, self.options.shuffled_parts))

    def _encode(
        self,
        backbone: Backbone,
        projector: nn.Module,
        dense_projector: nn.Module,
        images: Float[Tensor, "rows channels height width"],
    ) -> Encoded:
        """Global and dense projections and features, the latter two on the grid of ``method.dense_grid``."""
        features = backbone(images)
        vectors = projector(pool(features, kind="avg"))
        if self.options.dense_grid is not None:
            features = F.adaptive_avg_pool2d(features, self.options.dense_grid)
        dense = dense_projector(features).flatten(2)
        return Encoded(vectors, dense, dense.mean(dim=2), features.flatten(2))


@torch.no_grad()
def correspondence(
    features: Float[Tensor, "rows channels positions"], key_features: Float[Tensor, "rows channels positions"]
) -> Int[Tensor, "rows positions"]:
    """For each position of a query, that of its key whose features have the largest cosine similarity with its own.

    Args:
        features: of the query.
        key_features: of the key; vectors of length 1.
    """
    return torch.einsum("rcs,rcj->rsj", F.normalize(features, dim=1), key_features).argmax(dim=2)


def matched(
    dense: Float[Tensor, "rows dim positions"], matches: Int[Tensor, "rows positions"]
) -> Float[Tensor, "rows dim positions"]:
    """Dense vectors of the keys, in the order of the queries' positions that they are matched with."""
    return dense.gather(2, matches[:, None, :].expand(-1, dense.shape[1], -1))


def by_position(dense: Float[Tensor, "rows dim positions"]) -> Float[Tensor, "rows*positions dim"]:
    """Dense vectors one below the other."""
    return dense.transpose(1, 2).flatten(0, 1)
