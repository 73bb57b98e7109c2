"""Losses of the two stages of Faster and Mask R-CNN, as Detectron2 defines them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

MASK_THRESHOLD = 0.5


def proposal_losses(
    objectness: Float[Tensor, " anchors"],
    deltas: Float[Tensor, "anchors 4"],
    labels: Float[Tensor, " anchors"],
    targets: Float[Tensor, "anchors 4"],
    quota: int,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Losses of the proposal network: binary cross-entropy, and L1 on the boxes of positive anchors.

    Both are sums over the anchors divided by ``quota``, the number to be sampled, so that a small image with
    few anchors weighs less (Detectron2; torchvision divides by the number found, and takes smooth L1 with beta 1/9).

    Args:
        objectness: logits.
        deltas: (dx, dy, log dw, log dh) from anchor to box.
        labels: 1 object, 0 background, -1 not sampled.
        targets: deltas from anchor to the object's box; read for positive anchors only.
        quota: anchors to sample per image, times the number of images.
    """
    sampled, positive = labels >= 0, labels > 0
    classification = F.binary_cross_entropy_with_logits(objectness[sampled], labels[sampled], reduction="sum")
    boxes = F.l1_loss(deltas[positive], targets[positive], reduction="sum")
    return classification / quota, boxes / quota


def box_losses(
    logits: Float[Tensor, "rois outcomes"],
    deltas: Float[Tensor, "rois four_outcomes"],
    labels: Int[Tensor, " rois"],
    targets: Float[Tensor, "rois 4"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Losses of the box head: mean cross-entropy, and L1 on the boxes of foreground RoIs.

    The L1 of an RoI is that of its own class's box alone. The sum is divided by the number of all RoIs, so that each
    foreground RoI has the same influence however many there are (Detectron2).

    Args:
        logits: of the background, then of each class.
        deltas: four numbers for each of these outcomes, in their order.
        labels: 0 background, else the class.
        targets: deltas from RoI to the object's box; read for foreground RoIs only.

    Returns:
        Two losses; both are 0, with gradients of 0, if there is no RoI.
    """
    if len(labels) == 0:
        return logits.sum() * 0, deltas.sum() * 0
    foreground = torch.where(labels > 0)[0]
    of_its_class = deltas.unflatten(1, (-1, 4))[foreground, labels[foreground]]
    boxes = F.l1_loss(of_its_class, targets[foreground], reduction="sum")
    return F.cross_entropy(logits, labels), boxes / len(labels)


def mask_loss(
    logits: Float[Tensor, "rois classes side side"],
    labels: Int[Tensor, " rois"],
    targets: Bool[Tensor, "rois side side"],
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy over all cells of the mask of each RoI's own class (Mask R-CNN, arXiv 1703.06870).

    Args:
        logits: one mask for each class.
        labels: classes from 1 on.
        targets: as ``mask_targets`` returns them.

    Returns:
        The loss; 0, with gradients of 0, if there is no RoI.
    """
    if len(labels) == 0:
        return logits.sum() * 0
    of_its_class = logits[torch.arange(len(labels), device=logits.device), labels - 1]
    return F.binary_cross_entropy_with_logits(of_its_class, targets.to(logits.dtype))


def mask_targets(
    masks: UInt8[Tensor, "objects height width"] | Bool[Tensor, "objects height width"],
    boxes: Float[Tensor, "rois 4"],
    matched: Int[Tensor, " rois"],
    side: int,
) -> Bool[Tensor, "rois side side"]:
    """Masks of the RoIs' objects, each cropped to its RoI and sampled on a grid of ``side`` x ``side``.

    A cell belongs to the object where the mask's average over it is at least a half, by RoIAlign with the half-pixel
    offset, as in Detectron2 for masks of pixels.

    Args:
        masks: 0 or 1 for each pixel of the image.
        boxes: RoIs (left, top, right, bottom), in pixels.
        matched: index of each RoI's object.
        side: cells in a row and in a column.
    """
    rois = torch.cat((matched[:, None].to(boxes.dtype), boxes), dim=1)
    shares = roi_align(masks[:, None].to(boxes.dtype), rois, side, sampling_ratio=0, aligned=True)
    return shares[:, 0] >= MASK_THRESHOLD
