"""Faster and Mask R-CNN on the fourth stage (C4), in MoCo's protocol for the evaluation of backbones.

The protocol is from MoCo (arXiv 1911.05722, Section 4.2 and Appendix) and its published configuration of Detectron2
(github.com/facebookresearch/moco/tree/main/detection). Kept of it here: a body of stride 16; 15 anchors at each cell;
a proposal network as wide as the body's map, 12,000 and 2,000 proposals before and after suppression in training, 6,000
and 1,000 at test time, proposals kept however far their anchors reach over the border; RoIAlign to 14 x 14 with the
half-pixel offset and adaptive sampling; the fifth stage and one more norm as box head; a box for each class; L1 losses
with Detectron2's normalizers; 512 RoIs, a quarter of them foreground; masks of 14 x 14 from the box head's own maps;
every norm in training mode; nothing frozen; images padded no further than the largest of the batch; Detectron2's
initialization; its pasting of masks.

Known differences, without effect on results as far as we know:

- Images are grouped by aspect ratio over the whole batch, where there are enough of each to fill one;
  Detectron2 groups the one or two of each device.
- Suppression of proposals ranks them by the logit's sigmoid in float32, so logits over 17 tie; Detectron2 ranks logits.
- Proposals thinner than 1/1000 pixel and detections thinner than 1/100 are dropped; Detectron2 drops empty ones only.
- Masks are resized as pixels; Detectron2 cuts COCO's polygons exactly, or pixels as here with ``MASK_FORMAT: bitmask``.
- Resizing works on real numbers; Detectron2 rounds to 8 bits afterwards.
- PyTorch's SyncBatchNorm weights each process by its number of RoIs; MoCo's "naiveSyncBN" weights all alike.
- A diverged network's infinite proposals are dropped, where Detectron2 stops; the losses are not finite all the same.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter

from manyview.backbones import Backbone
from manyview.detection.models.detector import HeadSizes, Parts
from manyview.detection.models.roi_heads import AlignedPool, BoxPredictor, DetectorHeads, Features, MaskPredictor
from manyview.detection.models.rpn import proposal_network

STRIDE = 16
ANCHOR_SIZES = ((32, 64, 128, 256, 512),)
PROPOSALS_BEFORE_NMS = (12_000, 6_000)
PROPOSALS_IN_TRAINING = 2_000
POOL_SIZE = 14
MAP = "0"


class Res5(nn.Module):
    """The backbone's last stage, of stride 2, and the norm that MoCo puts behind it.

    Args:
        layer4: the stage.
        channels: of its output.
    """

    def __init__(self, layer4: nn.Module, channels: int) -> None:
        super().__init__()
        self.layer4 = layer4
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Float[Tensor, "rois width 14 14"]) -> Float[Tensor, "rois channels 7 7"]:
        """Feature maps of RoIs."""
        result: Tensor = self.norm(self.layer4(x))
        return result


class C4Heads(DetectorHeads):
    """Box and mask heads that share the maps of ``Res5``."""

    def mask_maps(self, features: Features, boxes: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        """Feature maps of detections, which have not been through the box head."""
        maps: Tensor = self.box_head(self.box_roi_pool(features, boxes, sizes))
        return maps

    def mask_maps_in_training(
        self, features: Features, boxes: list[Tensor], sizes: list[tuple[int, int]], shared: Tensor, foreground: Tensor
    ) -> Tensor:
        """The box head's own feature maps."""
        return shared[foreground]


def c4_parts(backbone: Backbone, sizes: HeadSizes) -> Parts:
    """Parts of a C4 detector, made of the backbone's own layers.

    Args:
        backbone: a torchvision ResNet, whose layers become the detector's.
        sizes: of the heads.
    """
    channels = backbone.out_channels
    network = proposal_network(
        channels // 2,
        ANCHOR_SIZES,
        (STRIDE,),
        before_nms=PROPOSALS_BEFORE_NMS,
        after_nms=(PROPOSALS_IN_TRAINING, sizes.test_proposals),
    )
    heads = C4Heads(
        AlignedPool((MAP,), (STRIDE,), POOL_SIZE),
        Res5(backbone.get_submodule("layer4"), channels),
        BoxPredictor(channels, sizes.classes),
        sizes.regions,
        MaskPredictor(channels, sizes.classes) if sizes.masks else None,
    )
    return Parts(IntermediateLayerGetter(backbone, {"layer3": MAP}), network, heads, multiple=1)
