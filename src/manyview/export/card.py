"""JSON card of an export: its content, its origin, and the preprocessing of its images."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from manyview.backbones import Backbone, find_weights
from manyview.backbones.files import read_tensors
from manyview.export.base import of_255
from manyview.export.checking import Check, native_size
from manyview.runs import RunFolder, provenance, sha256
from manyview.runs.folder import BEST_FILE, WEIGHTS_FILE

CARD = "manyview.json"
_NOT_OURS = "manyview is under Apache-2.0, which does not reach the weights"
LICENSE = f"{_NOT_OURS}: the weights are yours."


@dataclass(frozen=True)
class WeightsSource:
    """Origin of the exported weights.

    Attributes:
        weights: the file, as given; None for a backbone given in memory.
        sha256: of that file.
        run: the run's folder, if the file belongs to a run.
        recipe: of the run; settings that differ from it are in the run's ``config.json``.
        initial_sha256: of the file that the weights were made from, if they record one.
        initial_license: of that file's weights, as the user gave it; None if unknown.
    """

    weights: str | None
    sha256: str | None
    run: str | None
    recipe: str | None
    initial_sha256: str | None = None
    initial_license: str | None = None


def find_source(weights: str | os.PathLike[str] | Backbone) -> WeightsSource:
    """Determine the weights' origin.

    Raises:
        UserError: there is no such file, or the run's ``config.json`` is damaged.
    """
    if isinstance(weights, Backbone):
        return WeightsSource(None, None, None, None)
    file = find_weights(Path(os.fspath(weights)))
    about = read_tensors(file).metadata
    initial = about.get("init_sha256"), about.get("init_license")
    run = RunFolder(file.parent)
    if not run.holds_a_run or file.name not in (WEIGHTS_FILE, BEST_FILE):
        return WeightsSource(str(file), sha256(file), None, None, *initial)
    return WeightsSource(str(file), sha256(file), str(run.path), run.read_json("config.json").get("recipe"), *initial)


def license_sentence(source: WeightsSource) -> str:
    """What the licenses of manyview and of the initial weights mean for the exported weights."""
    if source.initial_sha256 is None:
        return LICENSE
    if source.initial_license is None:
        return (
            f"{_NOT_OURS}: they were made from other weights, whose license is not recorded and may reach them; look "
            "it up before you pass them on (pretrain --init-license records it)."
        )
    return f"{_NOT_OURS}: they were made from weights under {source.initial_license}, whose terms reach them."


def describe(
    form: str,
    out: Path,
    staged: Path,
    backbone: Backbone,
    source: WeightsSource,
    check: Check,
    size: tuple[int, int] | None,
) -> dict[str, Any]:
    """The card as plain data.

    Args:
        form: the format's name.
        out: final path of the export.
        staged: its temporary path.
        backbone: the exported backbone.
        source: origin of its weights.
        check: result of the verification.
        size: height and width that were fixed, if any.
    """
    files = sorted(path for path in staged.rglob("*") if path.is_file()) if staged.is_dir() else [staged]
    fixed = size or native_size(backbone)
    return {
        "format": form,
        "out": str(out),
        "sha256": {path.name: sha256(path) for path in files},
        "source": asdict(source),
        "backbone": {
            "name": backbone.name,
            "in_channels": backbone.in_channels,
            "out_channels": backbone.out_channels,
            "parameters": sum(parameter.numel() for parameter in backbone.parameters()),
            "image_size": list(fixed) if fixed else "any",
        },
        "images": _images(backbone),
        "read_back": asdict(check),
        "licence": license_sentence(source),
        "provenance": provenance(),
    }


def dump(content: dict[str, Any]) -> str:
    """The card as text."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _images(backbone: Backbone) -> dict[str, Any]:
    """Channels, depth and normalization that the network expects."""
    depth = {} if backbone.bit_depth is None else {"bit_depth": backbone.bit_depth, "white": 2**backbone.bit_depth - 1}
    if not backbone.rgb:
        note = "bands of the files in their order, from 0 to 1 (of 255 or 65535), minus mean, over std"
        return {"channels": "bands", **depth, "mean": list(backbone.mean), "std": list(backbone.std), "pixels": note}
    return {
        "channels": "RGB",
        **depth,
        "mean": list(backbone.mean),
        "std": list(backbone.std),
        "mean_255": of_255(backbone.mean, rgb=True),
        "std_255": of_255(backbone.std, rgb=True),
        "pixels": "from 0 to 1, minus mean, over std; or from 0 to 255 with mean_255 and std_255",
    }
