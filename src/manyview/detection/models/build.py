"""A detector by the name of its architecture."""

from __future__ import annotations

import copy

from torch import nn

from manyview.backbones import Backbone
from manyview.backbones.build import ResNetBackbone
from manyview.detection.models.c4 import c4_parts
from manyview.detection.models.detector import Detector, HeadSizes, Resizing
from manyview.detection.models.fpn import fpn_parts
from manyview.detection.models.weight_check import landed
from manyview.detection.settings import ARCHITECTURES
from manyview.errors import UserError
from manyview.options.detection import MAX_SIDE, REGIONS, TEST_PROPOSALS


def build_detector(
    architecture: str,
    backbone: Backbone,
    *,
    classes: int,
    masks: bool = False,
    short_sides: tuple[int, ...],
    max_side: int = MAX_SIDE,
    test_short_side: int,
    regions: int = REGIONS,
    test_proposals: int = TEST_PROPOSALS,
    pyramid_norm: bool = True,
    sync_batch_norm: bool = False,
) -> Detector:
    """A Faster R-CNN, or with ``masks`` a Mask R-CNN, that starts with a backbone's weights.

    All of the backbone's convolutions and norms stand in it, compared bit for bit. Everything else has random weights
    from PyTorch's generator. Nothing is frozen; every norm follows the module's mode.

    Args:
        architecture: "c4" (MoCo's protocol; see ``models.c4``) or "fpn" (see ``models.fpn``).
        backbone: a torchvision ResNet, such as ``load_backbone`` gives; copied. Its ``mean`` and ``std`` normalize the
            detector's images.
        classes: without the background.
        masks: whether to predict masks.
        short_sides: lengths in pixels of an image's short side, of which one is drawn each time in training.
        max_side: the long side is at most that.
        test_short_side: the short side in eval mode.
        regions: regions of an image that train the heads; fewer than the protocol's 512 take less time and memory.
        test_proposals: proposals of an image that reach the heads in eval mode; the protocol's is 1,000.
        pyramid_norm: norms in the pyramid, as MoCo's protocol has them; ``c4`` has no pyramid.
        sync_batch_norm: let every norm count over all processes, which PyTorch can do on CUDA devices.

    Returns:
        the detector, in training mode, on the CPU or wherever the backbone is.

    Raises:
        UserError: unknown architecture; a backbone that is no torchvision ResNet; a number out of range.
    """
    _check(architecture, backbone)
    sizes = HeadSizes(classes, masks, regions, test_proposals)
    if not short_sides or min(*short_sides, test_short_side, max_side) < 1:
        raise UserError(f"sides must be at least 1 pixel, not {(*short_sides, test_short_side, max_side)}")
    layers = copy.deepcopy(backbone).requires_grad_(True)
    parts = c4_parts(layers, sizes) if architecture == "c4" else fpn_parts(layers, sizes, pyramid_norm)
    resizing = Resizing(short_sides, test_short_side, max_side, backbone.mean, backbone.std, parts.multiple)
    detector = Detector(architecture, classes, parts, resizing).to(next(backbone.parameters()).device).train()
    if sync_batch_norm:
        detector = nn.SyncBatchNorm.convert_sync_batchnorm(detector)
    landing = landed(detector, backbone)
    assert not landing.absent, landing
    return detector


def _check(architecture: str, backbone: Backbone) -> None:
    if architecture not in ARCHITECTURES:
        raise UserError(f"unknown detector {architecture!r}; choose one of {', '.join(ARCHITECTURES)}")
    if not isinstance(backbone, ResNetBackbone):
        raise UserError(
            f"a detector needs a torchvision ResNet (resnet18, resnet34, resnet50, resnet101), not {backbone.name}"
        )
