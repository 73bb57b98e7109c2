"""A detector by the name of its architecture."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from manyview.backbones import Backbone
from manyview.backbones.build import ResNetBackbone
from manyview.backbones.report import count_layers
from manyview.detection.models.c4 import c4_parts
from manyview.detection.models.detector import Detector, HeadSizes, Resizing
from manyview.detection.models.fpn import fpn_parts
from manyview.detection.settings import ARCHITECTURES
from manyview.errors import UserError
from manyview.options.detection import MAX_SIDE, REGIONS, TEST_PROPOSALS


@dataclass(frozen=True)
class WeightMatch:
    """How much of a backbone stands in a detector, bit for bit; ``str`` of it is one line.

    Attributes:
        network: the backbone's name.
        architecture: the detector's.
        convolutions: how many of the backbone's convolutions have all their weights there, and how many there are.
        norms: the same of the normalization layers, running statistics included.
        absent: the backbone's names of the weights that are not there, or are others.
    """

    network: str
    architecture: str
    convolutions: tuple[int, int]
    norms: tuple[int, int]
    absent: tuple[str, ...]

    def __str__(self) -> str:
        counts = ((*self.convolutions, "convolutions"), (*self.norms, "normalization layers"))
        found = " and ".join(f"{there} of {all_} {what}" for there, all_, what in counts)
        line = f"{found} of {self.network} are in the {self.architecture} detector"
        return f"{line}; not {', '.join(self.absent[:3])}{', ...' * (len(self.absent) > 3)}" if self.absent else line


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
    match = match_weights(detector, backbone)
    assert not match.absent, match
    return detector


def _check(architecture: str, backbone: Backbone) -> None:
    if architecture not in ARCHITECTURES:
        raise UserError(f"unknown detector {architecture!r}; choose one of {', '.join(ARCHITECTURES)}")
    if not isinstance(backbone, ResNetBackbone):
        raise UserError(
            f"a detector needs a torchvision ResNet (resnet18, resnet34, resnet50, resnet101), not {backbone.name}"
        )


def weight_name(architecture: str, name: str) -> str:
    """The detector's name of a backbone's weight.

    In ``c4`` the last stage is part of the box head, which is where a converter that knows only of bodies loses it.

    Args:
        architecture: "c4" or "fpn".
        name: as in the backbone's ``state_dict``.
    """
    if architecture == "fpn":
        return f"backbone.body.{name}"
    return f"roi_heads.box_head.{name}" if name.startswith("layer4.") else f"backbone.{name}"


def match_weights(detector: Detector, backbone: Backbone) -> WeightMatch:
    """Compare each of a backbone's weights with what the detector has in its place, bit for bit.

    Args:
        detector: as ``build_detector`` made it; once trained, nothing is the same.
        backbone: what it was made from.
    """
    there = detector.state_dict()
    found = {
        name
        for name, value in backbone.state_dict().items()
        if (other := there.get(weight_name(detector.architecture, name))) is not None
        and torch.equal(value.to(other.device), other)
    }
    convolutions, norms = count_layers(backbone, found)
    absent = tuple(name for name in backbone.state_dict() if name not in found)
    return WeightMatch(backbone.name, detector.architecture, convolutions, norms, absent)
