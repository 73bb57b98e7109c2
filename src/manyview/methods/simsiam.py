"""SimSiam (arXiv 2011.10566), optionally with the Image-Aware Contrastive loss of arXiv 2506.23156.

    L = L_sim + lambda L_ia                                                     (Eq. 3)

Without the second term, and with two views of the whole image, it is plain SimSiam.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from manyview.backbones import Backbone
from manyview.config import LossesConfig, PretrainConfig, SimSiamConfig
from manyview.heads import Predictor, Projector
from manyview.losses import symmetric_similarity
from manyview.methods.base import Method, MethodBatch
from manyview.methods.image_aware_term import add_image_aware
from manyview.methods.pairs import project_pairs
from manyview.precision import at_least_float32


class SimSiam(Method):
    """SimSiam: backbone, projector and predictor, and the loss over a batch of view pairs.

    Views 2k and 2k+1 of a group are its k-th positive pair.

    Args:
        backbone: from images to feature maps.
        heads: widths of the heads.
        losses: options of the terms of Eq. 3.
    """

    section = SimSiamConfig
    parts: ClassVar[Mapping[str, str]] = {name: name for name in ("backbone", "projector", "predictor")}

    def __init__(self, backbone: Backbone, heads: SimSiamConfig, losses: LossesConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = Projector(backbone.out_channels, heads.projection_dim)
        self.predictor = Predictor(heads.projection_dim, heads.prediction_hidden_dim)
        self.losses = losses

    @classmethod
    def build(cls, backbone: Backbone, config: PretrainConfig) -> Method:
        """Build SimSiam with the heads and the losses of a configuration."""
        assert isinstance(config.method, SimSiamConfig)
        return cls(backbone, config.method, config.losses)

    def forward(self, batch: MethodBatch) -> dict[str, Tensor]:
        """Compute the loss of one batch.

        Returns:
            ``loss`` (Eq. 3), ``similarity`` (L_sim), ``image_aware`` (L_ia, if its weight is above 0), float32 scalars,
            and ``z`` (pairs, dim), the first views' projections, detached, for the collapse monitor.
        """
        z1, z2 = project_pairs(self.backbone, self.projector, batch.groups)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        with torch.autocast(z1.device.type, enabled=False):
            p1, p2, z1, z2 = map(at_least_float32, (p1, p2, z1, z2))
            similarity = symmetric_similarity(p1, z1, p2, z2, stop_gradient=self.losses.similarity.stop_gradient)
        result = {"loss": similarity, "similarity": similarity.detach(), "z": z1.detach()}
        return add_image_aware(result, "similarity", self.losses.image_aware, (p1, z1), (p2, z2), batch)

    def parameter_groups(self, config: PretrainConfig) -> list[dict[str, Any]]:
        """Backbone and projector, then the predictor, whose rate may stay constant (arXiv 2011.10566, Section 4.2)."""
        rest = [*self.backbone.parameters(), *self.projector.parameters()]
        return [
            {"params": rest},
            {"params": list(self.predictor.parameters()), "constant": config.training.constant_predictor_lr},
        ]

    def remedies(self, config: PretrainConfig) -> list[str]:
        """What may help against collapse and is not in use yet, the most reliable first."""
        remedies = []
        if not self.losses.similarity.stop_gradient:
            remedies.append("losses.similarity.stop_gradient=true")
        if self.losses.image_aware.weight < 17:
            remedies.append("a stronger image-aware loss (losses.image_aware.weight=17)")
        return remedies + super().remedies(config)
