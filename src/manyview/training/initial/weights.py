"""Initial weights of a run from a checkpoint, to continue pre-training, possibly on other images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.backbones import Backbone, LoadingReport, load_backbone
from manyview.backbones.build import usual_normalization
from manyview.backbones.checkpoint import find_weights
from manyview.backbones.files import read_tensors
from manyview.backbones.record import depth_sentence, recorded
from manyview.backbones.weights import OtherChannelsError, OtherNetworkError
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.runs import RunFolder, sha256
from manyview.training.normalization import Normalization


@dataclass(frozen=True)
class InitialWeights:
    """A file of initial weights.

    Attributes:
        file: the weights; for a run folder, its ``backbone.safetensors``.
        sha256: of the file's bytes.
        normalization: mean and standard deviation that the weights were trained with, as recorded with them, or those
            of timm's own weights of the network; None if neither is known.
        license: as the user gave it, or as the file records it for the weights that it was made from; None if unknown.
        source: where the normalization is recorded, in words; "" if it is not.
    """

    file: Path
    sha256: str
    normalization: Normalization | None
    license: str | None = None
    source: str = ""

    def sentences(self, report: LoadingReport, backbone: Backbone) -> list[str]:
        """Messages for the user after loading: what matched, and how images are normalized.

        Args:
            report: of the loading.
            backbone: with the weights and the run's normalization.
        """
        mean, std = (" ".join(f"{value:g}" for value in values) for values in (backbone.mean, backbone.std))
        sentences = [
            f"Starting from {self.file}: {report}",
            f"Images are normalized by mean {mean} and standard deviation {std}: {self._source(backbone)}."
            + depth_sentence(backbone),
        ]
        if self.license is None:
            sentences.append(
                "The license of the initial weights is unknown here, and it may reach what is made from them: name it "
                "by --init-license, and exports will say so."
            )
        return sentences

    def _source(self, backbone: Backbone) -> str:
        """Where the run's normalization comes from."""
        if self.normalization is None:
            return "as the run's settings say, or as measured on the images"
        if self.normalization != (backbone.mean, backbone.std):
            return "as the run's settings say"
        if self.source:
            return self.source
        whose = f"timm's own weights of {backbone.name} have" if backbone.name.startswith("timm/") else "ImageNet has"
        return (
            f"the file records none, so those that {whose}; if these weights have others, set views.mean and views.std"
        )

    def describe(self, report: LoadingReport) -> dict[str, Any]:
        """Plain data, for ``run.json``."""
        return {
            "file": str(self.file.absolute()),
            "sha256": self.sha256,
            "license": self.license,
            "format": report.format,
            "network": report.network,
            "convolutions": dict(zip(("matched", "all"), report.convolutions, strict=True)),
            "norms": dict(zip(("matched", "all"), report.norms, strict=True)),
            "left_out": {what: len(names) for what, names in report.dropped.items()},
        }


def find_initial(config: PretrainConfig) -> InitialWeights | None:
    """Find the weights of ``config.backbone.init`` and their normalization; None if it is unset.

    Raises:
        UserError: the file is missing, damaged, or for images with another number of channels.
    """
    if config.backbone.init is None:
        return None
    file = find_weights(Path(config.backbone.init))
    about = read_tensors(file).metadata
    record = recorded(file, about)
    license_ = config.backbone.init_license or about.get("init_license")
    if record.mean is None or record.std is None:
        usual = usual_normalization(config.backbone.name) if config.data.bands == "rgb" else None
        return InitialWeights(file, sha256(file), usual, license_)
    mean, std = record.mean, record.std
    if len(mean) != config.data.channels:
        raise UserError(_other_channels(file, len(mean), config))
    return InitialWeights(file, sha256(file), (mean, std), license_, record.source)


def origin(described: Mapping[str, Any] | None) -> dict[str, str]:
    """Entries about the initial weights for the header of written weights, from ``InitialWeights.describe``."""
    if not described:
        return {}
    license_ = described.get("license")
    return {"init_sha256": described["sha256"], **({"init_license": license_} if license_ else {})}


def load_initial(backbone: Backbone, initial: InitialWeights, config: PretrainConfig) -> LoadingReport:
    """Load the initial weights into a backbone; all of them must match.

    The backbone keeps its ``zero_init_residual`` from the configuration. No random number is drawn.

    Args:
        backbone: built or wrapped for the run; running statistics are loaded too.
        initial: the weights.
        config: configuration of the run.

    Raises:
        UserError: the file is damaged, of another network, or for images with another number of channels.
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


def find_initial_again(config: PretrainConfig, folder: RunFolder, about: Mapping[str, Any]) -> InitialWeights | None:
    """Find the initial weights again, for a run that was stopped before its first checkpoint.

    Args:
        config: of the run.
        folder: of the run.
        about: what its ``run.json`` says.

    Raises:
        UserError: they are missing, or have changed since the run was started.
    """
    try:
        initial = find_initial(config)
    except UserError as error:
        raise UserError(f"{folder.path} has no checkpoint yet and starts from its initial weights: {error}") from error
    if initial and initial.sha256 != about.get("init", {}).get("sha256"):
        raise UserError(
            f"{initial.file} has changed since {folder.path} was started from it, and no checkpoint was written yet; "
            "start a new run"
        )
    return initial
