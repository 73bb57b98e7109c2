"""Anchors and the region proposal network, as in Detectron2 where torchvision differs."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from manyview.detection.models.losses import proposal_losses
from manyview.detection.models.sampled_gradient import SampledConv2d

ASPECT_RATIOS = (0.5, 1.0, 2.0)
ANCHORS_PER_IMAGE = 256
POSITIVE_ANCHORS = 0.5
FOREGROUND_IOU, BACKGROUND_IOU = 0.7, 0.3
NMS_IOU = 0.7


class GridAnchors(AnchorGenerator):  # type: ignore[misc]
    """Anchors around the top-left corner of each cell, with exact sizes and strides.

    torchvision rounds the anchors' corners to whole pixels (32 x 32 at 1:2 becomes 46 x 22 instead of 45.25 x 22.63),
    infers the stride from the sizes of image and map (which is wrong where the size is no multiple of it), and
    computes anchors in the features' precision, so that bfloat16 would shift them by pixels.

    Args:
        sizes: square roots of the anchors' areas for each feature map, in pixels.
        strides: of each feature map, in pixels.
    """

    def __init__(self, sizes: tuple[tuple[int, ...], ...], strides: tuple[int, ...]) -> None:
        super().__init__(sizes, (ASPECT_RATIOS,) * len(sizes))
        self.strides = strides

    def generate_anchors(
        self,
        scales: tuple[int, ...],
        aspect_ratios: tuple[float, ...],
        dtype: torch.dtype = torch.float32,
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> Float[Tensor, "anchors 4"]:
        """Anchors around the origin, for each size and ratio of height to width."""
        halves = [
            (size / math.sqrt(ratio) / 2, size * math.sqrt(ratio) / 2)
            for size, ratio in itertools.product(scales, aspect_ratios)
        ]
        return torch.tensor([(-w, -h, w, h) for w, h in halves], dtype=dtype, device=device)

    def forward(
        self, image_list: ImageList, feature_maps: list[Float[Tensor, "batch _ _ _"]]
    ) -> list[Float[Tensor, "anchors 4"]]:
        """All maps' anchors, row by row, once for each image."""
        self.set_cell_anchors(torch.float32, feature_maps[0].device)
        strides = [[stride, stride] for stride in self.strides]
        anchors = torch.cat(self.grid_anchors([features.shape[-2:] for features in feature_maps], strides))
        return [anchors] * len(image_list.image_sizes)


class ProposalHead(RPNHead):  # type: ignore[misc]
    """torchvision's head with float32 outputs even under autocast, as box coordinates need the precision.

    Args:
        channels: of the feature maps, and of the head's convolution.
        anchors: at each position.
    """

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__(channels, anchors)
        with torch.device("meta"):  # which draws no random numbers
            convolution = SampledConv2d(channels)
        convolution.load_state_dict(self.conv[0][0].state_dict(), assign=True)
        self.conv[0][0] = convolution

    def forward(
        self, x: list[Float[Tensor, "batch _ _ _"]]
    ) -> tuple[list[Float[Tensor, "batch _ _ _"]], list[Float[Tensor, "batch _ _ _"]]]:
        """Logits and deltas of each map's anchors."""
        logits, deltas = super().forward(x)
        return [values.float() for values in logits], [values.float() for values in deltas]


class ProposalNetwork(RegionProposalNetwork):  # type: ignore[misc]
    """torchvision's proposal network with the losses of ``proposal_losses``."""

    def compute_loss(
        self,
        objectness: Float[Tensor, "anchors 1"],
        pred_bbox_deltas: Float[Tensor, "anchors 4"],
        labels: list[Tensor],
        regression_targets: list[Tensor] | tuple[Tensor, ...],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Losses on a random sample of the anchors of each image."""
        positive, negative = (torch.cat(masks).bool() for masks in self.fg_bg_sampler(labels))
        sampled = torch.where(positive, 1.0, torch.where(negative, 0.0, -1.0))
        quota = self.fg_bg_sampler.batch_size_per_image * len(labels)
        return proposal_losses(objectness[:, 0], pred_bbox_deltas, sampled, torch.cat(list(regression_targets)), quota)


def proposal_network(
    channels: int,
    sizes: tuple[tuple[int, ...], ...],
    strides: tuple[int, ...],
    *,
    before_nms: tuple[int, int],
    after_nms: tuple[int, int],
) -> ProposalNetwork:
    """The proposal network: 256 anchors an image, half of them positive, foreground from IoU .7, background under .3.

    Args:
        channels: of the feature maps, and of the network's convolution.
        sizes: as in ``GridAnchors``.
        strides: as in ``GridAnchors``.
        before_nms: proposals per map before non-maximum suppression, in training and at test time.
        after_nms: proposals per image after it, in training and at test time.
    """
    anchors = GridAnchors(sizes, strides)
    return ProposalNetwork(
        anchors,
        ProposalHead(channels, anchors.num_anchors_per_location()[0]),
        FOREGROUND_IOU,
        BACKGROUND_IOU,
        ANCHORS_PER_IMAGE,
        POSITIVE_ANCHORS,
        dict(zip(("training", "testing"), before_nms, strict=True)),
        dict(zip(("training", "testing"), after_nms, strict=True)),
        NMS_IOU,
    )
