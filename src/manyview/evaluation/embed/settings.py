"""The record of all that the features of a file depend on, as plain data and in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manyview.backbones import Backbone
from manyview.evaluation.features.extract import FeatureSettings
from manyview.evaluation.settings import WARPED, describe_pixels, describe_pooled, describe_versions, describe_weights
from manyview.runtime import resolve_device, resolve_precision

RECORD_SUFFIX, SKIPPED_SUFFIX = ".json", ".skipped.csv"
"""Endings of the files beside a file of features, in place of its own."""


def describe_network(weights: Path, network: Backbone, settings: FeatureSettings) -> dict[str, Any]:
    """Weights, and how features are made with them."""
    return {
        **describe_weights(weights, network),
        **describe_pooled(settings, network),
        "transform": WARPED,
        **describe_pixels(network),
        "precision": resolve_precision(settings.precision),
        "device": str(resolve_device(settings.device)),
        **describe_versions(),
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
