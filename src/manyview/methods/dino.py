"""DINO: self-distillation with no labels (arXiv 2104.14294).

A student's distribution over K outputs for a view x' of an image learns that of its momentum teacher for the views x of
the first group:

    P(x)^i = exp(g(x)^i / tau) / sum_k exp(g(x)^k / tau)                                              (Eq. 1)
    min sum_{x in first group} sum_{x' != x} - P_t(x) log P_s(x')                                     (Eq. 3)
    P_t(x) = softmax((g_t(x) - c) / tau_t)                                                            (Algorithm 1)
    c <- m c + (1 - m) mean g_t(x)                                                                    (Eq. 4)
    theta_t <- lambda theta_t + (1 - lambda) theta_s, lambda from .996 to 1 along a cosine            (Section 3.1)

Centering keeps one output from dominating, sharpening (tau_t < tau_s) the uniform distribution from winning. The head
is an MLP with a bottleneck, l2 normalization, and a last layer whose weight vectors have length 1 (Appendix C), which
is not trained in the first epoch, as in the released code (facebookresearch/dino). So are the mean over the terms of
Eq. 3, the teacher's norms in training mode and the MLP's initial weights. Unlike there, features of a transformer are
the mean of its patches' tokens, which is the feature map that evaluations read, and not the class token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from manyview.backbones import Backbone
from manyview.config import ImageAwareConfig, PretrainConfig
from manyview.config.methods import DINOConfig
from manyview.distributed import mean_of_processes
from manyview.heads import BottleneckProjector
from manyview.methods.base import Method, MethodBatch, Moment
from manyview.methods.image_aware_term import add_image_aware
from manyview.methods.momentum import follow, rising, slow_copy
from manyview.methods.pairs import pooled_views
from manyview.methods.swapped import by_image, cross_entropy, entropy, predictors
from manyview.precision import at_least_float32


class DINO(Method):
    """DINO: student and teacher, each of backbone, projector and last layer, and the teacher's center.

    With one group of views, the student sees one of a pair and the teacher the other; with several, the student sees
    all views of an image and the teacher those of the first group, which should be the large ones. The teacher is
    exported, which the paper evaluates (Section 5.2).

    Args:
        backbone: the student's, from images to feature maps; the teacher starts as a copy.
        options: widths, temperatures, momenta.
        image_aware: the image-aware loss of the student's bottleneck, and its weight.
    """

    section = DINOConfig
    parts: ClassVar[Mapping[str, str]] = {"backbone": "teacher_backbone", "projector": "teacher_projector"}

    def __init__(self, backbone: Backbone, options: DINOConfig, image_aware: ImageAwareConfig) -> None:
        super().__init__()
        self.options = options
        self.image_aware = image_aware
        self.backbone = backbone
        sizes = (backbone.out_channels, options.hidden_dim, options.bottleneck_dim)
        self.projector = BottleneckProjector(*sizes, batch_norm=options.batch_norm)
        self.last_layer = nn.Linear(options.bottleneck_dim, options.prototypes, bias=False)
        self.teacher_backbone, self.teacher_projector = slow_copy(self.backbone), slow_copy(self.projector)
        self.teacher_last_layer = slow_copy(self.last_layer)
        self.center: Tensor
        self.register_buffer("center", torch.zeros(options.prototypes))
        self._new_centers: list[Tensor] = []

    def forward(self, batch: MethodBatch) -> dict[str, Tensor]:
        """Compute the loss of one batch; its center is taken up after the step.

        Returns:
            ``loss`` (mean of the terms of Eq. 3), ``entropy`` of the teacher's distributions in nats, ``distillation``
            and ``image_aware`` where the image-aware loss is added, float32 scalars, and ``z`` (views, dim), the
            student's bottleneck of the first group before normalization, detached.
        """
        counts = [group.shape[1] for group in batch.groups]
        large = batch._replace(groups=batch.groups[:1])
        z = self.projector(pooled_views(self.backbone, batch.groups))
        with torch.no_grad():
            teacher = self.teacher_projector(pooled_views(self.teacher_backbone, large.groups))
        with torch.autocast(z.device.type, enabled=False):
            z = at_least_float32(z)
            targets = self._targets(by_image(_logits(at_least_float32(teacher), self.teacher_last_layer), large), batch)
            logits = by_image(_logits(z, self.last_layer), batch)
            log_p = (logits / self.options.temperature).log_softmax(dim=-1)
            loss = cross_entropy(targets, log_p, predictors(counts, z.device))
            result = {"loss": loss, "entropy": entropy(targets)}
        result["z"] = z[: counts[0] * len(batch.image_ids)].detach()
        first, second = z[0::2], z[1::2]
        return add_image_aware(result, "distillation", self.image_aware, (first, first), (second, second), batch)

    def after_backward(self, moment: Moment) -> None:
        """Leave the last layer unmoved in the first steps."""
        if moment.epoch < self.options.freeze_last_layer_epochs:
            self.last_layer.weight.grad = None

    @torch.no_grad()
    def after_step(self, moment: Moment) -> None:
        """Let the teacher follow the student, and the center the teacher's outputs."""
        momentum = rising(self.options.momentum, 1.0, moment.progress)
        follow(self.teacher_backbone, self.backbone, momentum)
        follow(self.teacher_projector, self.projector, momentum)
        follow(self.teacher_last_layer, self.last_layer, momentum)
        if self._new_centers:
            newest = torch.stack(self._new_centers).mean(dim=0)
            self.center.lerp_(newest.to(self.center.dtype), 1 - self.options.center_momentum)
            self._new_centers.clear()

    def remedies(self, config: PretrainConfig) -> list[str]:
        """What may help against collapse and is not in use yet, the most reliable first."""
        normed = [] if self.options.batch_norm else ["batch normalization in the head (method.batch_norm=true)"]
        sharper = []
        if self.options.teacher_temperature > self.options.teacher_temperature_start:
            sharper = [f"a lower method.teacher_temperature ({self.options.teacher_temperature_start:g})"]
        return [*normed, *sharper, *super().remedies(config)]

    def _targets(
        self, logits: Float[Tensor, "images targets prototypes"], batch: MethodBatch
    ) -> Float[Tensor, "images targets prototypes"]:
        """The teacher's distributions, by the center of the steps before."""
        self._new_centers.append(mean_of_processes(logits.mean(dim=(0, 1))))
        temperature = teacher_temperature(self.options, batch.moment.epoch)
        return ((logits - self.center) / temperature).softmax(dim=-1)


def teacher_temperature(options: DINOConfig, epoch: float) -> float:
    """tau_t: linear warm-up from its start, then constant (Section 3.2)."""
    start, end, epochs = (
        options.teacher_temperature_start,
        options.teacher_temperature,
        options.teacher_temperature_epochs,
    )
    return end if epoch >= epochs else start + (end - start) * epoch / epochs


def _logits(z: Float[Tensor, "rows dim"], last_layer: nn.Linear) -> Float[Tensor, "rows prototypes"]:
    """Cosine similarities of the bottleneck and the last layer's weight vectors, whose lengths do not matter."""
    return F.normalize(z, dim=1) @ F.normalize(last_layer.weight, dim=1).T
