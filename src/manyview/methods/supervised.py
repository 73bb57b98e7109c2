"""Multi-label supervised training, the upper line of comparisons: binary cross-entropy for each class.

    L = mean over known (b, c) of -y_bc log sigma(x_bc) - (1 - y_bc) log(1 - sigma(x_bc))

x are the logits of a linear classifier on the pooled features, y the labels of the image, which every view of it gets.
Unknown labels (objects that are only "difficult") are left out. The mean is over the known entries of all processes, of
which one may have more than another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from manyview.backbones import Backbone
from manyview.config import PretrainConfig
from manyview.config.methods import SupervisedConfig
from manyview.distributed import gather, own_rows
from manyview.heads import Head
from manyview.methods.base import Method, MethodBatch
from manyview.methods.pairs import pooled_views
from manyview.precision import at_least_float32


class Supervised(Method):
    """Backbone and linear classifier. All views of all groups are classified; none is compared with another.

    Args:
        backbone: from images to feature maps.
        pooling: "avg" or "gamp", of ``manyview.pooling.pool``.
        classes: names of the classes, in the order of the targets' columns.
    """

    section = SupervisedConfig
    parts: ClassVar[Mapping[str, str]] = {"backbone": "backbone", "classifier": "classifier"}

    def __init__(self, backbone: Backbone, pooling: str, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.classes = classes
        self.classifier = Head(nn.Linear(backbone.out_channels, len(classes)))
        self._targets: Tensor | None = None  # not a buffer: checkpoints need not hold the labels

    @classmethod
    def build(cls, backbone: Backbone, config: PretrainConfig) -> Method:
        """Build the classifier for the classes of a settled configuration."""
        assert isinstance(config.method, SupervisedConfig)
        assert config.method.classes is not None, "settle() fills them in"
        return cls(backbone, config.method.pool, config.method.classes)

    def take_targets(self, targets: Float[Tensor, "all_images classes"]) -> None:
        """Take the labels of all images, by ``image_ids``: 1, 0, or NaN where unknown."""
        assert targets.shape[1] == len(self.classes), f"{targets.shape[1]} columns for {len(self.classes)} classes"
        self._targets = targets

    def forward(self, batch: MethodBatch) -> dict[str, Tensor]:
        """Compute the loss of one batch.

        Returns:
            ``loss``, a float32 scalar, and ``z`` (views, dim) for the collapse monitor: the pooled features, each
            dimension normalized over the batch of all processes. As they are, the features of a sound run all point in
            one direction, since none is negative; projections of other methods are normalized, too.
        """
        assert self._targets is not None, "take_targets() comes first"
        features = pooled_views(self.backbone, batch.groups, self.pooling)
        logits = self.classifier(features)
        image_ids = torch.cat([batch.image_ids.repeat_interleave(group.shape[1]) for group in batch.groups])
        with torch.autocast(logits.device.type, enabled=False):
            logits, z = at_least_float32(logits), at_least_float32(features.detach())
            loss = known_cross_entropy(gather(logits), gather(self._targets[image_ids].to(logits.dtype)))
            return {"loss": loss, "z": own_rows(F.batch_norm(gather(z), None, None, training=True))}

    def describe(self, config: PretrainConfig) -> dict[str, Any]:
        """Plain data for ``run.json``, with the names of the classes."""
        return {**super().describe(config), "classes": list(self.classes)}


def known_cross_entropy(
    logits: Float[Tensor, "rows classes"], targets: Float[Tensor, "rows classes"]
) -> Float[Tensor, ""]:
    """Binary cross-entropy, mean over the known entries; 0 if none is known.

    Args:
        logits: x.
        targets: y, from 0 to 1; NaN where unknown.
    """
    known = ~targets.isnan()
    entropies = F.binary_cross_entropy_with_logits(logits, targets.nan_to_num(), reduction="none")
    return torch.where(known, entropies, 0.0).sum() / known.sum().clamp_min(1)
