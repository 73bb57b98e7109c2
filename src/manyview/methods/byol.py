"""BYOL: bootstrap your own latent (arXiv 2006.07733).

The online network predicts the projection that a target network gives of another view of the image:

    L = |p/|p| - t/|t||^2 = 2 - 2 cos(p, t)                                           (Eq. 2)
    theta_t <- tau theta_t + (1 - tau) theta                                          (Eq. 4)
    tau = 1 - (1 - tau_base) (cos(pi k / K) + 1) / 2    at step k of K                (Section 3.3)

The loss of a pair is L for the first view's prediction plus L for the second's (Section 3.1). As in the released code,
the batch norms of the target normalize by the batch, too, and each view is a batch of its own. Unlike there, the target
starts as a copy of the online network instead of with random weights of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from manyview.backbones import Backbone
from manyview.config import ImageAwareConfig, PretrainConfig
from manyview.config.methods import BYOLConfig
from manyview.heads import BYOLHead
from manyview.losses import negative_cosine_similarity
from manyview.methods.base import Method, MethodBatch, Moment
from manyview.methods.image_aware_term import add_image_aware
from manyview.methods.momentum import follow, rising, slow_copy
from manyview.methods.pairs import project_pairs
from manyview.precision import at_least_float32


class BYOL(Method):
    """BYOL: online backbone, projector and predictor, and the target, a slow copy of backbone and projector.

    Views 2k and 2k+1 of a group are its k-th positive pair: two crops of the same block, or of the whole image.

    Args:
        backbone: online backbone, from images to feature maps.
        options: widths of the heads, and the target's momentum.
        image_aware: the image-aware loss of online predictions and projections, and its weight.
    """

    section = BYOLConfig
    parts: ClassVar[Mapping[str, str]] = {name: name for name in ("backbone", "projector", "predictor")}

    def __init__(self, backbone: Backbone, options: BYOLConfig, image_aware: ImageAwareConfig) -> None:
        super().__init__()
        self.options = options
        self.image_aware = image_aware
        self.backbone = backbone
        self.projector = BYOLHead(backbone.out_channels, options.hidden_dim, options.dim)
        self.predictor = BYOLHead(options.dim, options.hidden_dim, options.dim)
        self.target_backbone, self.target_projector = slow_copy(self.backbone), slow_copy(self.projector)

    def forward(self, batch: MethodBatch) -> dict[str, Tensor]:
        """Compute the loss of one batch.

        Returns:
            ``loss``, from 0 to 8, ``regression`` and ``image_aware`` where the image-aware loss is added, float32
            scalars, and ``z`` (pairs, dim), the first views' online projections, detached.
        """
        z1, z2 = project_pairs(self.backbone, self.projector, batch.groups)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        with torch.no_grad():
            t1, t2 = project_pairs(self.target_backbone, self.target_projector, batch.groups)
        with torch.autocast(z1.device.type, enabled=False):
            loss = regression_loss(p1, t2) + regression_loss(p2, t1)
        result = {"loss": loss, "z": at_least_float32(z1.detach())}
        return add_image_aware(result, "regression", self.image_aware, (p1, z1), (p2, z2), batch)

    @torch.no_grad()
    def after_step(self, moment: Moment) -> None:
        """Update the target (Eq. 4)."""
        tau = rising(self.options.momentum, 1.0, moment.progress)
        follow(self.target_backbone, self.backbone, tau)
        follow(self.target_projector, self.projector, tau)

    def remedies(self, config: PretrainConfig) -> list[str]:
        """What may help against collapse, the most reliable first."""
        return [*super().remedies(config), f"a higher method.momentum (it was {self.options.momentum:g})"]


def regression_loss(p: Float[Tensor, "pairs dim"], t: Float[Tensor, "pairs dim"]) -> Float[Tensor, ""]:
    """2 - 2 cos(p, t), the squared distance of the normalized vectors (Eq. 2), mean over pairs; from 0 to 4.

    Args:
        p: predictions. Half precision is computed in float32.
        t: the target's projections of the other views.
    """
    return 2 + 2 * negative_cosine_similarity(p, t)
