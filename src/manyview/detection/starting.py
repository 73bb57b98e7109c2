"""The initial backbone, detector and optimizer of a fine-tuning run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from manyview.backbones import Backbone, build_backbone, find_weights, load_backbone
from manyview.backbones.build import UNTRAINED, untrained
from manyview.backbones.report import NORMS
from manyview.detection.checkpoint import DetectorDescription
from manyview.detection.dataset import DetectionData
from manyview.detection.models import Detector
from manyview.detection.settings import DetectionSettings
from manyview.errors import UserError
from manyview.runs import sha256

MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4


def starting_backbone(
    weights: Path | None, name: str | None, *, random_init: bool, seed: int
) -> tuple[Backbone, dict[str, Any]]:
    """The backbone with its initial weights, and their origin as plain data.

    Args:
        weights: run folder or checkpoint; with ``random_init`` only its network counts, and it may be missing.
        name: of the network, where the weights do not say.
        random_init: random weights, as pre-training would start with.
        seed: of random weights.

    Raises:
        UserError: neither weights nor a network is named; the weights cannot be read or do not fit; or their images
            are not RGB images.
    """
    if weights is None and not (random_init and name):
        raise UserError(
            "WEIGHTS is missing: name a run's folder or a checkpoint, or train from random weights with --random-init "
            "--backbone resnet50"
        )
    if weights is not None:
        backbone = load_backbone(weights, name)
        if not backbone.rgb:
            raise UserError(
                f"{weights} is for images of {backbone.in_channels} channels, but detectors are trained on RGB images"
            )
    else:
        assert name is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = build_backbone(name)
    if random_init:
        return untrained(backbone, seed), {"backbone": backbone.name, "weights": f"random: {UNTRAINED}"}
    assert weights is not None
    file = find_weights(weights)
    return backbone, {
        "backbone": backbone.name,
        "weights": str(file),
        "weights_sha256": sha256(file),
        "loading": str(backbone.loading),
    }


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
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return description.build(backbone, sync_batch_norm=sync_batch_norm), description


def make_optimizer(detector: torch.nn.Module) -> torch.optim.SGD:
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
    return torch.optim.SGD([group for group in groups if group["params"]], lr=0.0, momentum=MOMENTUM)
