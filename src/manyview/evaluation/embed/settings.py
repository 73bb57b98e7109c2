"""How photographs become features, and the record of all that these depend on, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import manyview
from manyview.backbones import Backbone, find_weights
from manyview.evaluation.features.backbone import bands, normalisation
from manyview.evaluation.features.dataset import MIN_SIZE
from manyview.evaluation.features.extract import require
from manyview.pooling import KINDS
from manyview.runs import sha256
from manyview.runtime import resolve_device, resolve_precision

RECORD_SUFFIX, SKIPPED_SUFFIX = ".json", ".skipped.csv"
"""Endings of the files beside a file of features, in place of its own."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """How features are made of photographs; checked when made.

    Attributes:
        pool: of the feature maps.
        size: side of the inputs in pixels.
        batch_size: inputs at a time.
        workers: loader processes; None: by cores.
        device: of the backbone, as a user names it.
        precision: likewise.

    Raises:
        UserError: if a value is out of range.
    """

    pool: str
    size: int
    batch_size: int
    workers: int | None
    device: str
    precision: str

    def __post_init__(self) -> None:
        require(self.pool in KINDS, f"pool must be one of {', '.join(KINDS)}, not {self.pool!r}")
        require(self.size >= MIN_SIZE, f"size must be at least {MIN_SIZE} pixels, not {self.size}")
        require(self.batch_size >= 1, f"batch_size must be at least 1, not {self.batch_size}")
        require(self.workers is None or self.workers >= 0, f"workers must be at least 0, not {self.workers}")
        resolve_device(self.device)
        resolve_precision(self.precision)


def describe_network(weights: Path, network: Backbone, settings: Extraction) -> dict[str, Any]:
    """Weights, and how features are made with them."""
    file = find_weights(weights)
    return {
        "backbone": network.name,
        "weights": str(file),
        "weights_sha256": sha256(file),
        "pool": settings.pool,
        "feature_dim": network.out_channels * (2 if settings.pool == "cat" else 1),
        "size": settings.size,
        "transform": "warped to size, bilinear with antialiasing",
        "bands": bands(network),
        "normalisation": dict(zip(("mean", "std"), map(list, normalisation(network)), strict=True)),
        "precision": resolve_precision(settings.precision),
        "device": str(resolve_device(settings.device)),
        "versions": {"manyview": manyview.__version__, "torch": str(torch.__version__)},
    }


def format_written(record: dict[str, Any], out: Path) -> str:
    """What ``embed`` returned, in two lines for a terminal.

    Args:
        record: of the file.
        out: the file.
    """
    protocol, results = record["protocol"], record["results"]
    shape = protocol["patches"]
    what = f"{protocol['feature_dim']:,} features each ({protocol['pool']} at {protocol['size']} px)"
    if shape:
        what += f" and {shape['rows']} x {shape['columns']} places of {shape['dim']:,}"
    lines = f"{results['photographs']:,} photographs: {what}, {protocol['dtype']}, by {protocol['backbone']}"
    listing = out.with_suffix(SKIPPED_SUFFIX)
    skipped = f"; {results['skipped']:,} could not be read, listed in {listing}" if results["skipped"] else ""
    return f"{lines}\nWritten to {out} ({out.stat().st_size / 1e6:,.1f} MB){skipped}"
