"""The settings and the record of features, labels and metrics, which all evaluations share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

import manyview
from manyview.backbones import Backbone, LoadingReport, find_weights
from manyview.backbones.build import UNTRAINED
from manyview.errors import require
from manyview.evaluation.data import Data, bounded
from manyview.evaluation.features.backbone import bands, normalisation
from manyview.evaluation.features.extract import FeatureSettings
from manyview.evaluation.metrics.bootstrap import INTERVALS
from manyview.options.labeled import AveragePrecision, Compatibility
from manyview.runs import sha256
from manyview.runtime import resolve_device, resolve_precision

_TRANSFORMS = {
    "warp": "warped to size, bilinear with antialiasing",
    "center": "resized and cropped at the center: the square of 7/8 of the shorter side, bilinear with antialiasing",
}
EXTRACTED_ONCE = "features extracted once, without augmentation, as for validation"
# Of the weights that a checkpoint holds beside the backbone's, how many of each kind the record names.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class MetricSettings:
    """What ``multilabel_metrics`` and ``multilabel_report`` ask for; checked when made, before any work is done.

    Raises:
        UserError: if a value is out of range.
    """

    threshold: float | int = 0.5
    average_precision: AveragePrecision = "all_points"
    compatibility: Compatibility | None = None

    def __post_init__(self) -> None:
        require(0 <= self.threshold <= 1, f"threshold is a probability from 0 to 1, not {self.threshold}")
        kinds, known = get_args(AveragePrecision), get_args(Compatibility)
        require(
            self.average_precision in kinds,
            f"average_precision must be {' or '.join(kinds)}, not {self.average_precision!r}",
        )
        require(
            self.compatibility is None or self.compatibility in known,
            f"compatibility must be {' or '.join(known)}, or left out, not {self.compatibility!r}",
        )


def describe_report(resamples: int, train_scores: str) -> dict[str, Any]:
    """What ``multilabel_report`` depends on beside options, in words.

    Args:
        resamples: of the bootstrap.
        train_scores: what those of the training images are.
    """
    return {
        "train_scores": f"{train_scores}, for the rule of the best F1",
        "intervals": INTERVALS if resamples else None,
    }


def describe_weights(weights: Path, backbone: Backbone) -> dict[str, Any]:
    """Which weights, as plain data.

    Raises:
        UserError: if their file cannot be read.
    """
    file = find_weights(weights)
    return {"backbone": backbone.name, "weights": str(file), "weights_sha256": sha256(file)}


def describe_pooled(settings: FeatureSettings, backbone: Backbone) -> dict[str, Any]:
    """What features are made of feature maps, as plain data."""
    dim = backbone.out_channels * (2 if settings.pool == "cat" else 1)
    return {"pool": settings.pool, "feature_dim": dim, "size": settings.size}


def describe_pixels(backbone: Backbone) -> dict[str, Any]:
    """What a backbone's inputs are, as plain data."""
    return {
        "bands": bands(backbone),
        "normalisation": dict(zip(("mean", "std"), map(list, normalisation(backbone)), strict=True)),
    }


def describe_versions() -> dict[str, Any]:
    """The libraries that features depend on, as plain data."""
    return {"versions": {"manyview": manyview.__version__, "torch": str(torch.__version__)}}


def describe_extraction(settings: FeatureSettings, weights: Path, backbone: Backbone) -> dict[str, Any]:
    """All that the features of images without labels depend on, as plain data."""
    return {
        **describe_weights(weights, backbone),
        **describe_pooled(settings, backbone),
        "transform": _TRANSFORMS[settings.crop],
        **describe_pixels(backbone),
        "precision": resolve_precision(settings.precision),
        "device": str(resolve_device(settings.device)),
        **describe_versions(),
    }


def describe_features(settings: FeatureSettings, data: Data, weights: Path, backbone: Backbone) -> dict[str, Any]:
    """All that the features and labels depend on, as plain data.

    Args:
        settings: how they are extracted.
        data: the images and their labels.
        weights: run folder or checkpoint file.
        backbone: as loaded from it.

    Raises:
        UserError: if the weights' file cannot be read.
    """
    return {
        **describe_weights(weights, backbone),
        "loading": describe_loading(backbone.loading),
        **describe_pooled(settings, backbone),
        "crop": settings.crop,
        "val_transform": _TRANSFORMS[settings.crop],
        **describe_pixels(backbone),
        "precision": resolve_precision(settings.precision),
        "device": resolve_device(settings.device).type,
        "untrained_backbone": UNTRAINED,
        "classes": list(data.classes),
        "train": data.train.describe(),
        "val": data.val.describe(),
        "images_in_both": data.images_in_both(),
        **describe_versions(),
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
