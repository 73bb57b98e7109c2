"""The weights that a run starts from, where they are not new: pre-training continued, perhaps on other photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.backbones import Backbone, LoadingReport, load_backbone
from manyview.backbones.checkpoint import OWN_FORMAT, find_weights
from manyview.backbones.weights import OtherChannelsError, OtherNetworkError
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.runs import RunFolder, sha256
from manyview.training.bands import Normalisation


@dataclass(frozen=True)
class Initial:
    """What came of loading the weights.

    Attributes:
        file: the weights' file; in a run's folder, its ``backbone.safetensors``.
        sha256: of the file's bytes.
        report: what matched and what was left out.
        normalisation: mean and deviation of the images that the weights were trained on; None if the file does not say.
    """

    file: Path
    sha256: str
    report: LoadingReport
    normalisation: Normalisation | None

    @property
    def sentence(self) -> str:
        """For the user."""
        return f"Starting from {self.file}: {self.report}"

    def describe(self) -> dict[str, Any]:
        """Plain data, for ``run.json``."""
        report = self.report
        return {
            "file": str(self.file),
            "sha256": self.sha256,
            "format": report.format,
            "network": report.network,
            "convolutions": dict(zip(("matched", "all"), report.convolutions, strict=True)),
            "norms": dict(zip(("matched", "all"), report.norms, strict=True)),
            "left_out": {what: len(names) for what, names in report.dropped.items()},
        }


def load_initial(backbone: Backbone, config: PretrainConfig) -> Initial:
    """Fill a backbone with the weights of ``config.backbone.init``; every one must match.

    How an untrained network of its kind starts stays what ``config.backbone.zero_init_residual`` says. No random
    number is drawn.

    Args:
        backbone: built or wrapped for the run; with running statistics and all, it then equals the file's.
        config: the run's.

    Raises:
        UserError: no such file, damaged, of another network or for images of other channels.
    """
    assert config.backbone.init is not None
    file = find_weights(Path(config.backbone.init))
    zero_init_residual = backbone.zero_init_residual
    _fill(backbone, file, config)
    backbone.zero_init_residual = zero_init_residual
    report = backbone.loading
    assert report is not None
    says = report.format == OWN_FORMAT.title
    return Initial(file, sha256(file), report, (backbone.mean, backbone.std) if says else None)


def _fill(backbone: Backbone, file: Path, config: PretrainConfig) -> None:
    """``load_backbone``, its errors in the words of a run's settings."""
    own = backbone.name.startswith("own:")
    try:
        load_backbone(file, None if own else backbone.name, into=backbone)
    except OtherChannelsError as error:
        bands = "rgb or 3" if error.found == 3 else error.found
        raise UserError(
            f"{file} holds weights for images of {error.found} channels, but those of the run have "
            f"{config.data.channels}; start from weights for as many, or set data.bands to {bands} if the photographs "
            "have them"
        ) from error
    except OtherNetworkError as error:
        raise UserError(
            f"{file} holds the weights of {error.found}, but the run's backbone is {backbone.name}; leave out the "
            "backbone's name, which follows the weights, or start from others"
        ) from error


def load_initial_again(backbone: Backbone, config: PretrainConfig, folder: RunFolder) -> None:
    """The same for a run that was stopped before its first checkpoint: it has no other copy of these weights.

    Raises:
        UserError: they are gone, or not those that the run was started from.
    """
    try:
        initial = load_initial(backbone, config)
    except UserError as error:
        raise UserError(f"{folder.path} has no checkpoint yet and starts from its first weights: {error}") from error
    if initial.sha256 != folder.read_json("run.json").get("init", {}).get("sha256"):
        raise UserError(
            f"{initial.file} has changed since {folder.path} was started from it, and no checkpoint was written yet; "
            "start a new run"
        )
