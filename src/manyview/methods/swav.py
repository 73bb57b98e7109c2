"""SwAV: swapped prediction of cluster assignments (arXiv 2006.09882).

Each view's code q, an assignment to prototypes c_k, is predicted from other views z of its image:

    l(z_t, q_s) = - sum_k q_s^k log p_t^k,    p_t = softmax(z_t . c_k / tau)                          (Eq. 2)
    max_Q Tr(Q^T C^T Z) + eps H(Q),    Q 1 = 1/K,  Q^T 1 = 1/B                                          (Eq. 3, 4)
    Q* = Diag(u) exp(C^T Z / eps) Diag(v)                                                             (Eq. 5)
    L = sum_{i in first group} sum_{v != i} l(z_v, q_i)                                               (Eq. 6)

u and v by Sinkhorn-Knopp over the projections of all processes: so many that each prototype can have its equal share,
with the projections of recent steps (the queue) where a batch is small (Section 3.1, Appendix A). As in the released
code (facebookresearch/swav, main_swav.py), the loss is the mean over the terms of Eq. 6, the first and the second views
of the pairs have codes and a queue of their own, the queue is used once it is full, the prototypes have unit length at
every step and are not trained in the first epoch, and the head sees the views of all sizes as one batch.
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
from manyview.config.methods import SwAVConfig
from manyview.distributed import gather, own_rows
from manyview.heads import Head
from manyview.methods.base import Method, MethodBatch, Moment
from manyview.methods.image_aware_term import add_image_aware
from manyview.methods.pairs import pooled_views
from manyview.methods.swapped import by_image, cross_entropy, entropy, predictors
from manyview.precision import at_least_float32


class SwAV(Method):
    """SwAV: backbone, projector, prototypes, and the queues of earlier projections.

    With one group of views, the two of a pair predict each other's codes; with several, all views of an image predict
    the codes of those of the first group, which should be the large ones.

    Args:
        backbone: from images to feature maps.
        options: widths, prototypes, queue, and the constants of the codes.
        image_aware: the image-aware loss of the projections, and its weight.
    """

    section = SwAVConfig
    parts: ClassVar[Mapping[str, str]] = {"backbone": "backbone", "projector": "projector"}

    def __init__(self, backbone: Backbone, options: SwAVConfig, image_aware: ImageAwareConfig) -> None:
        super().__init__()
        self.options = options
        self.image_aware = image_aware
        self.backbone = backbone
        hidden = options.hidden_dim
        self.projector = Head(
            *(nn.Linear(backbone.out_channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)),
            nn.Linear(hidden, options.dim),
        )
        self.prototypes = nn.Linear(options.dim, options.prototypes, bias=False)
        self._normalize_prototypes()
        self.queue: Tensor
        self.enqueued: Tensor
        self.register_buffer("queue", torch.zeros(2, options.queue, options.dim))
        self.register_buffer("enqueued", torch.zeros((), dtype=torch.int64))
        self._new: list[Tensor] = []

    def forward(self, batch: MethodBatch) -> dict[str, Tensor]:
        """Compute the loss of one batch; its projections are enqueued after the step.

        Returns:
            ``loss`` (mean of the terms of Eq. 6), ``entropy`` of the codes in nats, ``swapped`` and ``image_aware``
            where the image-aware loss is added, float32 scalars, and ``z`` (views, dim), the projections of the first
            group before normalization, detached.
        """
        counts = [group.shape[1] for group in batch.groups]
        z = self.projector(pooled_views(self.backbone, batch.groups))
        with torch.autocast(z.device.type, enabled=False):
            z = at_least_float32(z)
            projections = F.normalize(z, dim=1)
            scores = by_image(projections @ self.prototypes.weight.T, batch)
            codes = self._codes(by_image(projections.detach(), batch)[:, : counts[0]], batch.moment)
            log_p = (scores / self.options.temperature).log_softmax(dim=-1)
            loss = cross_entropy(codes, log_p, predictors(counts, z.device))
            result = {"loss": loss, "entropy": entropy(codes)}
        result["z"] = z[: counts[0] * len(batch.image_ids)].detach()
        first, second = z[0::2], z[1::2]
        return add_image_aware(result, "swapped", self.image_aware, (first, first), (second, second), batch)

    def after_backward(self, moment: Moment) -> None:
        """Leave the prototypes unmoved in the first steps."""
        if moment.epoch < self.options.freeze_prototypes_epochs:
            self.prototypes.weight.grad = None

    @torch.no_grad()
    def after_step(self, moment: Moment) -> None:
        """Normalize the prototypes; replace the oldest projections of the queues by the newest."""
        self._normalize_prototypes()
        for projections in self._new:
            rows = torch.arange(projections.shape[1], device=projections.device)
            self.queue[:, (self.enqueued + rows) % self.options.queue] = projections.to(self.queue.dtype)
            self.enqueued.add_(len(rows))
        self._new.clear()

    def remedies(self, config: PretrainConfig) -> list[str]:
        """What may help against collapse and is not in use yet, the most reliable first."""
        count = self.options.prototypes
        harder = ["harder codes (method.epsilon=0.03)"] if self.options.epsilon > 0.03 else []
        fewer = [f"fewer prototypes (method.prototypes={count // 4})"] if count >= 400 else []
        return [*harder, *fewer, *super().remedies(config)]

    @torch.no_grad()
    def _codes(
        self, projections: Float[Tensor, "images targets dim"], moment: Moment
    ) -> Float[Tensor, "images targets prototypes"]:
        """Codes of the views of the first group; those of the first and of the second views of all pairs separately."""
        images, targets, _ = projections.shape
        pairs = targets // 2
        halves = projections.unflatten(1, (pairs, 2)).permute(2, 0, 1, 3).flatten(1, 2)
        everywhere = torch.stack([gather(half) for half in halves])
        if self.options.queue and moment.epoch >= self.options.queue_start:
            self._new.append(everywhere)
        full = self.options.queue > 0 and bool(self.enqueued >= self.options.queue)
        rows = torch.cat([everywhere, self.queue], dim=1) if full else everywhere
        codes = [
            sinkhorn_knopp(half @ self.prototypes.weight.T, self.options.epsilon, self.options.iterations)
            for half in rows
        ]
        own = [own_rows(of_half[: everywhere.shape[1]]) for of_half in codes]
        return torch.stack(own, dim=1).unflatten(0, (images, pairs)).flatten(1, 2)

    @torch.no_grad()
    def _normalize_prototypes(self) -> None:
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))


def sinkhorn_knopp(
    scores: Float[Tensor, "rows prototypes"], epsilon: float, iterations: int
) -> Float[Tensor, "rows prototypes"]:
    """Soft assignment of rows to prototypes that are used about equally (arXiv 2006.09882, Eq. 5).

    Args:
        scores: cosine similarities of projections and prototypes.
        epsilon: weight of the entropy; smaller is harder.
        iterations: of normalizing over the rows for each prototype, then over the prototypes for each row.

    Returns:
        rows that sum to 1; with enough iterations, columns that sum to rows / prototypes.
    """
    # In log space, as a prototype that is far from all rows would have codes of 0 at small epsilon, and then 0 / 0.
    logs = scores / epsilon
    for _ in range(iterations):
        logs = logs.log_softmax(dim=0).log_softmax(dim=1)
    return logs.exp()
