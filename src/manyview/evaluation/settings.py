"""What the protocols of all evaluations on labelled photographs share: features, labels, and the record of these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import manyview
from manyview.backbones import Backbone, LoadingReport, find_weights
from manyview.backbones.build import UNTRAINED
from manyview.evaluation.data import Data
from manyview.evaluation.features.backbone import bands, normalisation
from manyview.evaluation.features.dataset import CROPS, MIN_SIZE
from manyview.evaluation.features.extract import require
from manyview.evaluation.record import bounded
from manyview.pooling import KINDS
from manyview.runs import sha256
from manyview.runtime import resolve_device, resolve_precision

_TRANSFORMS = {
    "warp": "warped to size, bilinear with antialiasing",
    "center": "resized and cropped at the centre: the square of 7/8 of the shorter side, bilinear with antialiasing",
}
EXTRACTED_ONCE = "features extracted once, without augmentation, as for validation"
# Of the weights that a checkpoint holds beside the backbone's, how many of each kind the record names.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class FeatureSettings:
    """How features are extracted; checked when made.

    Raises:
        UserError: if a value is out of range.
    """

    pool: str
    size: int
    workers: int | None
    device: str
    precision: str
    crop: str = "warp"

    def __post_init__(self) -> None:
        require(self.pool in KINDS, f"pool must be one of {', '.join(KINDS)}, not {self.pool!r}")
        require(self.size >= MIN_SIZE, f"size must be at least {MIN_SIZE} pixels, not {self.size}")
        require(self.workers is None or self.workers >= 0, f"workers must be at least 0, not {self.workers}")
        require(self.crop in CROPS, f"crop must be one of {', '.join(CROPS)}, not {self.crop!r}")
        resolve_device(self.device)
        resolve_precision(self.precision)


def describe_features(settings: FeatureSettings, data: Data, weights: Path, backbone: Backbone) -> dict[str, Any]:
    """All that the features and labels depend on, as plain data.

    Args:
        settings: how they are extracted.
        data: the photographs and their labels.
        weights: run folder or checkpoint file.
        backbone: as loaded from it.

    Raises:
        UserError: if the weights' file cannot be read.
    """
    file = find_weights(weights)
    return {
        "backbone": backbone.name,
        "weights": str(file),
        "weights_sha256": sha256(file),
        "loading": describe_loading(backbone.loading),
        "pool": settings.pool,
        "feature_dim": backbone.out_channels * (2 if settings.pool == "cat" else 1),
        "size": settings.size,
        "crop": settings.crop,
        "val_transform": _TRANSFORMS[settings.crop],
        "bands": bands(backbone),
        "normalisation": dict(zip(("mean", "std"), map(list, normalisation(backbone)), strict=True)),
        "precision": resolve_precision(settings.precision),
        "device": resolve_device(settings.device).type,
        "untrained_backbone": UNTRAINED,
        "classes": list(data.classes),
        "train": data.train.describe(),
        "val": data.val.describe(),
        "images_in_both": data.images_in_both(),
        "versions": {"manyview": manyview.__version__, "torch": str(torch.__version__)},
    }


def describe_loading(loading: LoadingReport | None) -> dict[str, Any] | None:
    """How a checkpoint went into a backbone, as plain data.

    Returns:
        "summary", the report in one or two lines; "format"; "inferred", whether the network was told by the weights'
        shapes; "convolutions" and "norms", each how many match and how many there are; "dropped", by what they belong
        to, how many weights and the first of their names. None for weights that are not from a file.
    """
    if loading is None:
        return None
    return {
        "summary": str(loading),
        "format": loading.format,
        "inferred": loading.inferred,
        "convolutions": list(loading.convolutions),
        "norms": list(loading.norms),
        "dropped": {what: bounded(names, _NAMED) for what, names in loading.dropped.items()},
    }
