"""Faster and Mask R-CNN on a feature pyramid (FPN, arXiv 1612.03144), with Detectron2's defaults.

The body's maps at strides 4 to 32 feed the pyramid: those of all four stages of a ResNet, as in Detectron2's
``Base-RCNN-FPN``, or of a network of timm's (see ``stages``). A plain transformer's only map, at stride 16, feeds the
simple pyramid of ViTDet. Three anchors at each cell of P2 to P6, one size a level; 2,000 and 1,000 proposals a level
before suppression in training and at test time, 1,000 an image after it; RoIAlign to 7 x 7 for boxes and 14 x 14 for
masks; two fully connected layers as box head, four convolutions as mask head; boxes for each class and L1 losses. As
MoCo fine-tunes (arXiv 1911.05722, Section 4.2), every norm is in training mode, nothing is frozen that the maps depend
on, and the pyramid's convolutions have norms too. The differences that ``c4`` names hold here as well.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from manyview.backbones import Backbone
from manyview.backbones.build import ResNetBackbone
from manyview.backbones.timm import TimmBackbone
from manyview.detection.models.detector import HeadSizes, Parts
from manyview.detection.models.roi_heads import AlignedPool, BoxPredictor, DetectorHeads, Features, MaskPredictor
from manyview.detection.models.rpn import proposal_network
from manyview.detection.models.simple_pyramid import SimplePyramid
from manyview.detection.models.stages import LEVELS, Pyramid, find_stages, freeze_rest

STRIDES = (4, 8, 16, 32, 64)
ANCHOR_SIZES = ((32,), (64,), (128,), (256,), (512,))
PROPOSALS_BEFORE_NMS = (2_000, 1_000)
PROPOSALS_IN_TRAINING = 1_000
CHANNELS, BOX_FEATURES = 256, 1_024
BOX_POOL_SIZE, MASK_POOL_SIZE = 7, 14
STAGES = ("layer1", "layer2", "layer3", "layer4")


class BoxHead(TwoMLPHead):  # type: ignore[misc]
    """torchvision's two fully connected layers, with Detectron2's initialization."""

    def __init__(self) -> None:
        super().__init__(CHANNELS * BOX_POOL_SIZE**2, BOX_FEATURES)
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)


class PyramidHeads(DetectorHeads):
    """Box head, and a mask head with its own RoI pooling."""

    def mask_maps(
        self, features: Features, boxes: list[Float[Tensor, "_ 4"]], sizes: list[tuple[int, int]]
    ) -> Float[Tensor, "rois channels 14 14"]:
        """Feature maps of boxes for the mask predictor."""
        maps: Tensor = self.mask_head(self.mask_roi_pool(features, boxes, sizes))
        return maps


def fpn_parts(backbone: Backbone, sizes: HeadSizes, pyramid_norm: bool) -> Parts:
    """Parts of an FPN detector, made of the backbone's own layers.

    Args:
        backbone: a torchvision ResNet or a network of timm's, whose layers become the detector's.
        sizes: of the heads.
        pyramid_norm: normalization after the pyramid's convolutions: of batches, or in the simple pyramid of layers.

    Raises:
        UserError: the backbone has no maps for a pyramid.
    """
    body = _with_pyramid(backbone, pyramid_norm)
    network = proposal_network(
        CHANNELS,
        ANCHOR_SIZES,
        STRIDES,
        before_nms=PROPOSALS_BEFORE_NMS,
        after_nms=(PROPOSALS_IN_TRAINING, sizes.test_proposals),
    )
    heads = PyramidHeads(
        AlignedPool(LEVELS, STRIDES[:4], BOX_POOL_SIZE),
        BoxHead(),
        BoxPredictor(BOX_FEATURES, sizes.classes),
        sizes.regions,
        MaskPredictor(CHANNELS, sizes.classes) if sizes.masks else None,
    )
    if sizes.masks:
        heads.mask_roi_pool = AlignedPool(LEVELS, STRIDES[:4], MASK_POOL_SIZE)
        heads.mask_head = MaskRCNNHeads(CHANNELS, (CHANNELS,) * 4, 1)
    return Parts(body, network, heads, multiple=32)


def _with_pyramid(backbone: Backbone, pyramid_norm: bool) -> nn.Module:
    norm = nn.BatchNorm2d if pyramid_norm else None
    if isinstance(backbone, ResNetBackbone):
        widths = [backbone.out_channels // 2**halvings for halvings in (3, 2, 1, 0)]
        names = dict(zip(STAGES, LEVELS, strict=True))
        result: nn.Module = BackboneWithFPN(backbone, names, widths, CHANNELS, norm_layer=norm)
        return result
    stages = find_stages(backbone)
    assert isinstance(backbone, TimmBackbone)
    freeze_rest(backbone, stages)
    fpn: nn.Module
    if len(stages.indices) == 1:
        fpn = SimplePyramid(stages.channels[0], CHANNELS, pyramid_norm)
    else:
        fpn = FeaturePyramidNetwork(list(stages.channels), CHANNELS, LastLevelMaxPool(), norm_layer=norm)
    return Pyramid(backbone, fpn, stages)
