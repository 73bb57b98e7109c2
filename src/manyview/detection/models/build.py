"""Builds a detector around a backbone, and checks that it holds all of the backbone's weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from manyview import distributed
from manyview.backbones import Backbone
from manyview.backbones.base import WrappedBackbone
from manyview.backbones.build import ResNetBackbone
from manyview.backbones.report import count_layers
from manyview.detection.models.c4 import c4_parts
from manyview.detection.models.detector import Detector, HeadSizes, Resizing
from manyview.detection.models.fpn import fpn_parts
from manyview.detection.models.stages import find_stages
from manyview.detection.settings import ARCHITECTURES
from manyview.errors import UserError, first_few
from manyview.options.detection import MAX_SIDE, REGIONS, TEST_PROPOSALS


@dataclass(frozen=True)
class WeightMatch:
    """How many of a backbone's weights a detector holds, bit for bit; ``str`` of it is one line.

    Attributes:
        network: the backbone's name.
        architecture: the detector's.
        convolutions: how many of the backbone's convolutions the detector holds with all weights, and their number.
        norms: the same for normalization layers, running statistics included.
        absent: names in the backbone of weights that the detector lacks or has other values of.
    """

    network: str
    architecture: str
    convolutions: tuple[int, int]
    norms: tuple[int, int]
    absent: tuple[str, ...]

    def __str__(self) -> str:
        counts = ((*self.convolutions, "convolutions"), (*self.norms, "normalization layers"))
        found = " and ".join(f"{there} of {all_} {what}" for there, all_, what in counts if all_)
        line = f"{found} of {self.network} are in the {self.architecture} detector"
        return f"{line}; not {first_few(self.absent)}" if self.absent else line


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
    """Build a Faster R-CNN, or with ``masks`` a Mask R-CNN, initialized with a backbone's weights.

    It holds all of the backbone's convolutions and norms, compared bit for bit. All other weights are drawn from
    PyTorch's generator. Nothing is frozen but what has no effect on the maps that the detector takes; every norm
    follows the module's mode.

    Args:
        architecture: "c4" (MoCo's protocol; see ``models.c4``) or "fpn" (see ``models.fpn``).
        backbone: such as ``load_backbone`` gives; copied. A torchvision ResNet, or for "fpn" also a network of timm's
            with maps at strides 4, 8, 16 and 32, or a transformer with one at stride 16. Its ``mean`` and ``std``
            normalize the detector's images.
        classes: without the background.
        masks: whether to predict masks.
        short_sides: lengths in pixels of an image's short side, of which one is drawn for each training image.
        max_side: the long side is at most that.
        test_short_side: the short side in eval mode.
        regions: RoIs per image that train the heads; fewer than the protocol's 512 take less time and memory.
        test_proposals: proposals per image that reach the heads in eval mode; the protocol's is 1,000.
        pyramid_norm: norms in the pyramid, as in MoCo's protocol; ``c4`` has no pyramid.
        sync_batch_norm: synchronize every norm over all processes.

    Returns:
        The detector in training mode, on the backbone's device.

    Raises:
        UserError: unknown architecture; a backbone that it cannot be built around; a number out of range.
    """
    check_backbone(architecture, backbone)
    sizes = HeadSizes(classes, masks, regions, test_proposals)
    if not short_sides or min(*short_sides, test_short_side, max_side) < 1:
        raise UserError(f"sides must be at least 1 pixel, not {(*short_sides, test_short_side, max_side)}")
    layers = copy.deepcopy(backbone).requires_grad_(True)
    parts = c4_parts(layers, sizes) if architecture == "c4" else fpn_parts(layers, sizes, pyramid_norm)
    resizing = Resizing(short_sides, test_short_side, max_side, backbone.mean, backbone.std, parts.multiple)
    detector = Detector(architecture, classes, parts, resizing).to(next(backbone.parameters()).device).train()
    if sync_batch_norm:
        detector = distributed.synchronize_norms(detector)
    match = match_weights(detector, backbone)
    assert not match.absent, match
    return detector


def check_backbone(architecture: str, backbone: Backbone) -> None:
    """Check that a detector of this architecture can be built around a backbone.

    Raises:
        UserError: it cannot.
    """
    if architecture not in ARCHITECTURES:
        raise UserError(f"unknown detector {architecture!r}; choose one of {', '.join(ARCHITECTURES)}")
    if isinstance(backbone, ResNetBackbone):
        return
    if architecture != "fpn":
        raise UserError(
            f"{architecture} needs a torchvision ResNet (resnet18, resnet34, resnet50, resnet101), not "
            f"{backbone.name}; --architecture fpn takes other networks too"
        )
    find_stages(backbone)


def weight_name(architecture: str, name: str) -> str:
    """Name in the detector of a backbone's weight; in ``c4`` the last stage is part of the box head.

    Args:
        architecture: "c4" or "fpn".
        name: as in the backbone's ``state_dict``.
    """
    if architecture == "fpn":
        return f"backbone.body.{name}"
    return f"roi_heads.box_head.{name}" if name.startswith("layer4.") else f"backbone.{name}"


def match_weights(detector: Detector, backbone: Backbone) -> WeightMatch:
    """Compare each of a backbone's weights with the detector's, bit for bit.

    Args:
        detector: as ``build_detector`` made it; training changes all of its weights.
        backbone: that it was made from.
    """
    there = detector.state_dict()
    found = {
        name
        for name, value in backbone.state_dict().items()
        if (other := there.get(weight_name(detector.architecture, name))) is not None
        and torch.equal(value.to(other.device), other)
    }
    network = backbone.network if isinstance(backbone, WrappedBackbone) else backbone
    convolutions, norms = count_layers(network, found)
    absent = tuple(name for name in backbone.state_dict() if name not in found)
    return WeightMatch(backbone.name, detector.architecture, convolutions, norms, absent)
