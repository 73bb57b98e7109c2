"""Metric settings and protocol entries that all evaluations share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

import manyview
from manyview.backbones import Backbone, LoadingReport, find_weights
from manyview.backbones.build import describe_untrained
from manyview.errors import require
from manyview.evaluation.data import Data, bounded
from manyview.evaluation.features.backbone import bands, bit_depth, normalization
from manyview.evaluation.features.extract import FeatureSettings
from manyview.evaluation.metrics.bootstrap import INTERVALS
from manyview.evaluation.run_heads import HEADS
from manyview.images import ImageFiles
from manyview.images.used_bits import describe_depth
from manyview.options.labeled import AveragePrecision, Compatibility
from manyview.pooling import ATTENTION, query_count
from manyview.runs import sha256
from manyview.runtime import resolve_device, resolve_precision

# Words of protocols, which are compared with those of earlier results.
_TRANSFORMS = {
    "warp": "warped to size, bilinear with antialiasing",
    "center": "resized and cropped at the centre: the square of 7/8 of the shorter side, bilinear with antialiasing",
}
EXTRACTED_ONCE = "features extracted once, without augmentation, as for validation"
# Other weights of a checkpoint that the record names, for each module.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class MetricSettings:
    """Settings of ``multilabel_metrics`` and ``multilabel_report``; checked when made.

    Raises:
        UserError: if a value is out of range.
    """

    threshold: float | int = 0.5
    average_precision: AveragePrecision = "all_points"
    compatibility: Compatibility | None = None

    def __post_init__(self) -> None:
        require(0 <= self.threshold <= 1, f"threshold is a probability from 0 to 1, not {self.threshold}")
        forms, known = get_args(AveragePrecision), get_args(Compatibility)
        require(
            self.average_precision in forms,
            f"average_precision must be {' or '.join(forms)}, not {self.average_precision!r}",
        )
        require(
            self.compatibility is None or self.compatibility in known,
            f"compatibility must be {' or '.join(known)}, or left out, not {self.compatibility!r}",
        )


def describe_report(resamples: int, train_scores: str) -> dict[str, Any]:
    """Protocol of ``multilabel_report`` without its options; ``train_scores`` describes the training scores."""
    return {
        "train_scores": f"{train_scores}, for the rule of the best F1",
        "intervals": INTERVALS if resamples else None,
    }


def describe_weights(weights: Path, backbone: Backbone) -> dict[str, Any]:
    """Protocol of the weights; a ``UserError`` if their file cannot be read."""
    file = find_weights(weights)
    return {"backbone": backbone.name, "weights": str(file), "weights_sha256": sha256(file)}


def describe_pooled(settings: FeatureSettings, backbone: Backbone) -> dict[str, Any]:
    """Protocol of the pooling and of the layer, if it is not the last feature map."""
    dim = backbone.out_channels * (2 if settings.pool == "cat" else 1)
    queries = {"queries": query_count(dim)} if settings.pool == ATTENTION else {}
    layer = {} if backbone.layer is None else {"layer": backbone.layer}
    # A head takes average-pooled features, and pooling its output changes nothing.
    pool = "avg" if backbone.layer in HEADS else settings.pool
    return {"pool": pool, **layer, **queries, "feature_dim": dim, "size": settings.size}


def describe_pixels(backbone: Backbone) -> dict[str, Any]:
    """Protocol of the backbone's inputs: bands, normalization, and the depth of 16-bit files if it is not all 16."""
    depth = bit_depth(backbone)
    return {
        "bands": bands(backbone),
        **({} if depth is None else {"bit_depth": depth}),
        "normalisation": dict(zip(("mean", "std"), map(list, normalization(backbone)), strict=True)),
    }


def describe_range(files: ImageFiles, backbone: Backbone) -> dict[str, str]:
    """What is wrong with the range of values in 16-bit files, for a protocol; {} if nothing is, and for bands."""
    if bands(backbone) != "rgb":
        return {}
    sentence = describe_depth(files, bit_depth(backbone), option="--bit-depth")
    return {"range": sentence} if sentence else {}


def remarks_on_images(protocol: Mapping[str, Any], left_out: str | None) -> list[str]:
    """Sentences of a result on its images: their normalization, files left out, and a wrong range of 16-bit values.

    Args:
        protocol: with ``loading`` and ``range``, either of which may be missing.
        left_out: what was left out of the folder, as a sentence; empty or None if nothing was.
    """
    normalized = (protocol.get("loading") or {}).get("normalization")  # absent from earlier features
    return [sentence for sentence in (normalized, left_out, protocol.get("range")) if sentence]


def describe_versions() -> dict[str, Any]:
    """Versions of the libraries that features depend on."""
    return {"versions": {"manyview": manyview.__version__, "torch": str(torch.__version__)}}


def describe_extraction(settings: FeatureSettings, weights: Path, backbone: Backbone) -> dict[str, Any]:
    """Protocol of the features of images without labels."""
    return {
        **describe_weights(weights, backbone),
        "loading": describe_loading(backbone.loading),
        **describe_pooled(settings, backbone),
        "transform": _TRANSFORMS[settings.crop],
        **describe_pixels(backbone),
        "precision": resolve_precision(settings.precision),
        "device": str(resolve_device(settings.device)),
        **describe_versions(),
    }


def describe_features(settings: FeatureSettings, data: Data, weights: Path, backbone: Backbone) -> dict[str, Any]:
    """Protocol of the features and labels of an evaluation; a ``UserError`` if the weights' file cannot be read."""
    return {
        **describe_weights(weights, backbone),
        "loading": describe_loading(backbone.loading),
        **describe_pooled(settings, backbone),
        "crop": settings.crop,
        "val_transform": _TRANSFORMS[settings.crop],
        **describe_pixels(backbone),
        **describe_range(ImageFiles(data.train.folder, data.train.labels.names), backbone),
        "precision": resolve_precision(settings.precision),
        "device": resolve_device(settings.device).type,
        "untrained_backbone": describe_untrained(backbone),
        "classes": list(data.classes),
        "train": data.train.describe(),
        "val": data.val.describe(),
        **data.shared.describe(),
        **describe_versions(),
    }


def describe_loading(loading: LoadingReport | None) -> dict[str, Any] | None:
    """Protocol of loading a checkpoint into a backbone.

    Returns:
        "summary", the report in one or two lines; "format"; "inferred", whether the network follows from the weights'
        shapes; "normalization", how images are normalized and why; "convolutions" and
        "norms", each the numbers of matched and of all; "dropped", by module, the number of weights and the first of
        their names. None for weights that are not from a file.
    """
    if loading is None:
        return None
    return {
        "summary": str(loading),
        "format": loading.format,
        "inferred": loading.inferred,
        "convolutions": list(loading.convolutions),
        "norms": list(loading.norms),
        "normalization": loading.normalization,
        "dropped": {what: bounded(names, _NAMED) for what, names in loading.dropped.items()},
    }
