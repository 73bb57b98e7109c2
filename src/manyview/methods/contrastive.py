"""A contrastive loss alone: the image-aware loss of arXiv 2506.23156 without SimSiam, or SimCLR's (arXiv 2002.05709).

    L = L_ia over the projections of all views                                        (2506.23156, Eq. 1, or SupCon's)

With every view of an image as a positive it is supervised contrastive learning (arXiv 2004.11362) whose label is the
image itself; with only the other view of a pair as a positive it is NT-Xent (2002.05709, Eq. 1). There is no predictor
and no stop-gradient: the negatives alone prevent collapse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from manyview.backbones import Backbone
from manyview.config import ImageAwareConfig
from manyview.config.methods import ContrastiveConfig
from manyview.heads import ContrastiveProjector
from manyview.losses import distributed_image_aware_loss
from manyview.methods.base import Method, MethodBatch
from manyview.methods.image_aware_term import add_image_aware
from manyview.methods.pairs import project
from manyview.precision import at_least_float32


class Contrastive(Method):
    """Backbone and projector, and the contrastive loss over all views of the batches of all processes.

    Args:
        backbone: from images to feature maps.
        options: widths, temperature, form of the loss, and which views are positives.
        image_aware: the image-aware loss to add to SimCLR's, and its weight.
    """

    section = ContrastiveConfig
    parts: ClassVar[Mapping[str, str]] = {"backbone": "backbone", "projector": "projector"}

    def __init__(self, backbone: Backbone, options: ContrastiveConfig, image_aware: ImageAwareConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.options = options
        self.image_aware = image_aware
        self.projector = ContrastiveProjector(backbone.out_channels, options.hidden_dim, options.dim)

    def forward(self, batch: MethodBatch) -> dict[str, Tensor]:
        """Compute the loss of one batch.

        Returns:
            ``loss``, ``contrastive`` and ``image_aware`` where the image-aware loss is added to SimCLR's, float32
            scalars, and ``z`` (vectors, dim), the projections before normalization, detached.
        """
        z = project(self.backbone, self.projector, [group.flatten(0, 1) for group in batch.groups])
        with torch.autocast(z.device.type, enabled=False):
            z = at_least_float32(z)
            loss = distributed_image_aware_loss(z, self._ids(batch), self.options.temperature, self.options.form)
        result = {"loss": loss, "z": z.detach()}
        first, second = z[0::2], z[1::2]
        return add_image_aware(result, "contrastive", self.image_aware, (first, first), (second, second), batch)

    def _ids(self, batch: MethodBatch) -> Int[Tensor, " vectors"]:
        """A number for each view, in the order of the projections, that only its positives share."""
        views = [group.shape[1] for group in batch.groups]
        if self.options.attract == "image":
            return torch.cat([batch.image_ids.repeat_interleave(count) for count in views])
        first, pairs = 0, sum(views) // 2
        ids = []
        for count in views:
            pair = first + torch.arange(count, device=batch.image_ids.device) // 2
            ids.append((batch.image_ids[:, None] * pairs + pair).flatten())
            first += count // 2
        return torch.cat(ids)
