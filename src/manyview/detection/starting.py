"""The initial backbone, detector and optimizer of a fine-tuning run."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from manyview.backbones import Backbone, build_backbone, find_weights, load_backbone
from manyview.backbones.beside import PRETRAINED, RANDOM, Baseline
from manyview.backbones.build import describe_untrained
from manyview.backbones.record import renormalize
from manyview.backbones.report import NORMS
from manyview.detection.checkpoint import DetectorDescription
from manyview.detection.dataset import DetectionData
from manyview.detection.models import Detector
from manyview.detection.settings import DetectionSettings
from manyview.errors import UserError
from manyview.optimizers import SGD
from manyview.options.base import StrPath
from manyview.options.channels import Numbers
from manyview.runs import sha256

MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4


@dataclass(frozen=True)
class Start:
    """Where a fine-tuning begins.

    Attributes:
        name: "pretrained", or the baseline's.
        backbone: with its initial weights.
        origin: of the weights, as plain data.
        why: the reason why a baseline is shown.
        images: how images are normalized and why, as a sentence; "" if that is not told.
    """

    name: str
    backbone: Backbone
    origin: dict[str, Any]
    why: str = ""
    images: str = ""


def first_start(
    weights: StrPath,
    name: str | None,
    seed: int,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    bit_depth: int | None = None,
) -> Start:
    """The weights that are asked for, or with "random" random init, as pre-training starts.

    Args:
        weights: run folder, checkpoint, or "random".
        name: of the network, where the weights do not say.
        seed: of random init.
        mean: of the channels by which images are normalized; None for that of the weights.
        std: standard deviation of the channels.
        bit_depth: bits that the values of 16-bit files use; None for those of the weights.

    Raises:
        UserError: no network is named; the weights cannot be read or do not fit; or their images are not RGB images.
    """
    if os.fspath(weights) != RANDOM:
        backbone = load_backbone(weights, name, mean=mean, std=std, bit_depth=bit_depth)
        start = _loaded(PRETRAINED, backbone, Path(weights))
        assert backbone.loading is not None
        images = backbone.loading.normalization
    elif name is None:
        raise UserError("random init needs the name of a network, such as --backbone resnet50")
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = build_backbone(name)
        images = renormalize(backbone, mean, std, bit_depth)
        start = _untrained(PRETRAINED, backbone)
    return replace(start, origin={**start.origin, **_given(backbone, mean, std)}, images=images)


def baseline_start(baseline: Baseline, like: Backbone, seed: int) -> Start:
    """The start beside the first one, whose network ``like`` is.

    Raises:
        UserError: its weights cannot be read, or their images are not RGB images.
    """
    backbone = baseline.build(like, seed)
    if baseline.weights is None:
        return _untrained(baseline.name, backbone, baseline.why)
    return _loaded(baseline.name, backbone, baseline.weights, baseline.why)


def _untrained(name: str, backbone: Backbone, why: str = "") -> Start:
    origin = {"backbone": backbone.name, "weights": f"random: {describe_untrained(backbone)}", **_depth(backbone)}
    return Start(name, backbone, origin, why)


def _loaded(name: str, backbone: Backbone, weights: Path, why: str = "") -> Start:
    if not backbone.rgb:
        raise UserError(
            f"{weights} is for images of {backbone.in_channels} channels, but detectors are trained on RGB images"
        )
    file = find_weights(weights)
    origin = {
        "backbone": backbone.name,
        "weights": str(file),
        "weights_sha256": sha256(file),
        "loading": str(backbone.loading),
        **_depth(backbone),
    }
    return Start(name, backbone, origin, why)


def _given(backbone: Backbone, mean: Numbers | None, std: Numbers | None) -> dict[str, Any]:
    """The normalization where it is given, so that a run is not resumed with another; else it is the weights'."""
    if mean is None and std is None:
        return {}
    return {"normalisation": {"mean": list(backbone.mean), "std": list(backbone.std)}}


def _depth(backbone: Backbone) -> dict[str, Any]:
    return {} if backbone.bit_depth is None else {"bit_depth": backbone.bit_depth}


def new_detector(
    backbone: Backbone, data: DetectionData, settings: DetectionSettings, *, sync_batch_norm: bool
) -> tuple[Detector, DetectorDescription]:
    """A detector around the backbone, its other weights drawn from the seed, and its description."""
    description = DetectorDescription(
        architecture=settings.architecture,
        backbone=backbone.name,
        in_channels=backbone.in_channels,
        mean=tuple(backbone.mean),
        std=tuple(backbone.std),
        classes=data.train.classes,
        category_ids=data.train.category_ids,
        masks=settings.masks,
        short_sides=settings.short_sides,
        test_short_side=settings.test_short_side,
        max_side=settings.max_side,
        regions=settings.regions,
        test_proposals=settings.test_proposals,
        bit_depth=backbone.bit_depth,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return description.build(backbone, sync_batch_norm=sync_batch_norm), description


def make_optimizer(detector: torch.nn.Module) -> SGD:
    """SGD with momentum .9 and weight decay 1e-4 except on norms, as Detectron2's ``WEIGHT_DECAY_NORM`` is 0.

    https://github.com/facebookresearch/detectron2/blob/main/detectron2/config/defaults.py
    """
    norms = {
        id(parameter) for module in detector.modules() if isinstance(module, NORMS) for parameter in module.parameters()
    }
    parameters = list(detector.parameters())
    groups = [
        {"params": [each for each in parameters if id(each) not in norms], "weight_decay": WEIGHT_DECAY},
        {"params": [each for each in parameters if id(each) in norms], "weight_decay": 0.0},
    ]
    # The schedule sets the learning rate before every step.
    return SGD([group for group in groups if group["params"]], lr=0.0, momentum=MOMENTUM)
