"""The record of all that label-free measures depend on, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import manyview
from manyview.backbones import Backbone, find_weights
from manyview.evaluation.features.backbone import bands, normalisation
from manyview.evaluation.health.run_parts import Trained
from manyview.evaluation.photographs_in_views import Features, PhotographsInViews
from manyview.evaluation.settings import describe_loading
from manyview.measures import ALPHA_REQ_RANKS
from manyview.runs import sha256


def describe_weights(weights: Path, network: Backbone, trained: Trained | None) -> dict[str, Any]:
    """What is measured, and how."""
    file = find_weights(weights)
    projector = "the run's projector on the features"
    z = projector if trained and trained.projector else "none: they need the checkpoint that a run's folder has"
    return {
        "evaluation": "label-free measures",
        "backbone": network.name,
        "weights": str(file),
        "weights_sha256": sha256(file),
        "loading": describe_loading(network.loading),
        "features": "global average of the backbone's feature map",
        "projections": z,
        "steps": trained.steps if trained else None,
        "bands": bands(network),
        "normalisation": {key: [*value] for key, value in zip(("mean", "std"), normalisation(network), strict=True)},
        "alpha_req": "least squares on log eigenvalues {} to {}, weights 1/k".format(*ALPHA_REQ_RANKS),
        "uniformity": "t = 2",
        "alignment": "alpha = 2, between two views of each photograph",
        "versions": {"manyview": manyview.__version__, "torch": str(torch.__version__)},
    }


def describe_photographs(
    photographs: PhotographsInViews, found: Features, sample: int, names: str | None
) -> dict[str, Any]:
    """What it is measured on."""
    return {
        "images": str(photographs.files.root),
        "list": names,
        "sample": sample,
        "photographs": found.readable,
        "unreadable": {str(item.path): item.reason for item in found.unreadable},
        "size": photographs.views.size,
        "views": photographs.views.model_dump(mode="json"),
    }
