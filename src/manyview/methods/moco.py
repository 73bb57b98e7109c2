"""MoCo v2: momentum contrast (arXiv 1911.05722) with an MLP head (arXiv 2003.04297).

Each query must be matched with its key among the keys of recent batches, by InfoNCE (1911.05722, Eq. 1), against a
queue and keys that ``momentum_contrast.py`` describes. The key encoder follows the query encoder:

    theta_k <- m theta_k + (1 - m) theta_q                                        (1911.05722, Eq. 2)

The order is that of the paper's Algorithm 1: loss, step of the query encoder, update of the key encoder, queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyview import distributed
from manyview.backbones import Backbone
from manyview.config import ImageAwareConfig, PretrainConfig
from manyview.config.methods import MoCoConfig
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
from manyview.methods.pairs import project, sides
from manyview.precision import at_least_float32


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

    def __init__(self, backbone: Backbone, options: MoCoConfig, image_aware: ImageAwareConfig) -> None:
        super().__init__()
        self.options = options
        self.image_aware = image_aware
        self.backbone = backbone
        self.projector = MoCoProjector(backbone.out_channels, options.hidden_dim, options.dim)
        self.key_backbone, self.key_projector = slow_copy(self.backbone), slow_copy(self.projector)
        self.queue: Tensor
        self.oldest: Tensor
        self.register_buffer("queue", random_queue(options.queue, options.dim))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.int64))
        self._new_keys: list[Tensor] = []

    def forward(self, batch: MethodBatch) -> dict[str, Tensor]:
        """Compute the loss of one batch; its keys are enqueued after the step.

        Returns:
            ``loss`` (Eq. 1), ``accuracy`` (fraction of queries to which no key of the queue is nearer than their own),
            ``info_nce`` and ``image_aware`` where the image-aware loss is added, float32 scalars, and ``z``
            (pairs, dim), the queries' projections before normalization, detached.
        """
        queries, keyed = sides(batch.groups)
        z = project(self.backbone, self.projector, queries)
        keys = [self._keys(images, batch) for images in keyed]
        with torch.autocast(z.device.type, enabled=False):
            z, own_keys = at_least_float32(z), torch.cat([own_rows(everyones) for everyones in keys])
            cosines = contrast(F.normalize(z, dim=1), own_keys, self.queue)
            loss = info_nce(cosines, self.options.temperature)
        self._new_keys += keys
        result = {"loss": loss, "accuracy": accuracy(cosines.detach()), "z": z.detach()}
        return add_image_aware(result, "info_nce", self.image_aware, (z, z), (own_keys, own_keys), batch)

    @torch.no_grad()
    def after_step(self, moment: Moment) -> None:
        """Update the key encoder (Eq. 2), then replace the oldest keys of the queue by the newest."""
        follow(self.key_backbone, self.backbone, self.options.momentum)
        follow(self.key_projector, self.projector, self.options.momentum)
        for keys in self._new_keys:
            enqueue([self.queue], [keys], self.oldest)
        self._new_keys.clear()

    def remedies(self, config: PretrainConfig) -> list[str]:
        """What may help against collapse, the most reliable first."""
        return super().remedies(config) + queue_remedies(self.options)

    def synchronize_norms(self) -> None:
        """Convert only the query backbone's batch norms; those of the keys normalize parts on one process."""
        self.backbone = distributed.synchronize_norms(self.backbone)

    def _keys(
        self, images: Float[Tensor, "rows channels height width"], batch: MethodBatch
    ) -> Float[Tensor, "all_rows dim"]:
        """Normalized keys of the images of all processes, in order of rank."""

        def encode(part: Tensor) -> list[Tensor]:
            return [project(self.key_backbone, self.key_projector, [part])]

        [keys] = encode_keys(encode, images, batch, self.options.shuffled_parts)
        return keys
