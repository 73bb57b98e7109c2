"""The weights that a run starts from, where they are not new: pre-training continued, perhaps on other images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.backbones import Backbone, LoadingReport, load_backbone
from manyview.backbones.checkpoint import find_weights, read_checkpoint
from manyview.backbones.weights import OtherChannelsError, OtherNetworkError
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.runs import RunFolder, sha256
from manyview.training.normalization import Normalization


@dataclass(frozen=True)
class InitialWeights:
    """A file of weights that a run starts from.

    Attributes:
        file: in a run's folder, its ``backbone.safetensors``.
        sha256: of the file's bytes.
        normalization: mean and standard deviation of the images that the weights were trained on; None if the file
            does not say.
    """

    file: Path
    sha256: str
    normalization: Normalization | None

    def sentence(self, report: LoadingReport) -> str:
        """What is said to the user once they are loaded."""
        return f"Starting from {self.file}: {report}"

    def describe(self, report: LoadingReport) -> dict[str, Any]:
        """Plain data, for ``run.json``."""
        return {
            "file": str(self.file),
            "sha256": self.sha256,
            "format": report.format,
            "network": report.network,
            "convolutions": dict(zip(("matched", "all"), report.convolutions, strict=True)),
            "norms": dict(zip(("matched", "all"), report.norms, strict=True)),
            "left_out": {what: len(names) for what, names in report.dropped.items()},
        }


def find_initial(config: PretrainConfig) -> InitialWeights | None:
    """The weights of ``config.backbone.init``, and what their file says of its images; None where it is unset.

    Raises:
        UserError: no such file, damaged, or for images of other channels.
    """
    if config.backbone.init is None:
        return None
    file = find_weights(Path(config.backbone.init))
    about = read_checkpoint(file).metadata
    if "mean" not in about or "std" not in about:
        return InitialWeights(file, sha256(file), None)
    mean, std = (tuple(map(float, about[key].split(","))) for key in ("mean", "std"))
    if len(mean) != config.data.channels:
        raise UserError(_other_channels(file, len(mean), config))
    return InitialWeights(file, sha256(file), (mean, std))


def load_initial(backbone: Backbone, initial: InitialWeights, config: PretrainConfig) -> LoadingReport:
    """Fill a backbone with the weights; every one must match.

    How an untrained network of its kind starts stays what ``config.backbone.zero_init_residual`` says. No random
    number is drawn.

    Args:
        backbone: built or wrapped for the run; with running statistics and all, it then equals the file's.
        initial: the weights.
        config: the run's.

    Raises:
        UserError: damaged, of another network or for images of other channels.
    """
    zero_init_residual, training = backbone.zero_init_residual, backbone.training
    own = backbone.name.startswith("own:")
    try:
        load_backbone(initial.file, None if own else backbone.name, into=backbone)
    except OtherChannelsError as error:
        raise UserError(_other_channels(initial.file, error.found, config)) from error
    except OtherNetworkError as error:
        raise UserError(
            f"{initial.file} holds the weights of {error.found}, but the run's backbone is {backbone.name}; leave out "
            "the backbone's name, which follows the weights, or start from others"
        ) from error
    backbone.zero_init_residual = zero_init_residual
    backbone.train(training)
    assert backbone.loading is not None
    return backbone.loading


def _other_channels(file: Path, found: int, config: PretrainConfig) -> str:
    bands = "rgb or 3" if found == 3 else found
    return (
        f"{file} holds weights for images of {found} channels, but those of the run have {config.data.channels}; start "
        f"from weights for as many, or set data.bands to {bands} if the images have them"
    )


def find_initial_again(config: PretrainConfig, folder: RunFolder) -> InitialWeights | None:
    """The same for a run that was stopped before its first checkpoint: it has no other copy of these weights.

    Raises:
        UserError: they are gone, or not those that the run was started from.
    """
    try:
        initial = find_initial(config)
    except UserError as error:
        raise UserError(f"{folder.path} has no checkpoint yet and starts from its first weights: {error}") from error
    if initial and initial.sha256 != folder.read_json("run.json").get("init", {}).get("sha256"):
        raise UserError(
            f"{initial.file} has changed since {folder.path} was started from it, and no checkpoint was written yet; "
            "start a new run"
        )
    return initial
