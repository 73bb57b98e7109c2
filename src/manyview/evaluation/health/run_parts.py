"""Configuration and initial weights of a run's folder, and what helps against its collapse."""

from __future__ import annotations

import copy

from pydantic import ValidationError

from manyview.backbones import Backbone, load_backbone
from manyview.backbones.beside import initial_weights
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.evaluation.run_heads import method_of
from manyview.runs import RunFolder


def run_config(run: RunFolder) -> PretrainConfig:
    """The configuration of the run.

    Raises:
        UserError: its ``config.json`` is damaged, or of a version that knew other settings.
    """
    try:
        return PretrainConfig.model_validate(run.read_json("config.json"))
    except ValidationError as error:
        raise UserError(
            f"{run.path / 'config.json'} holds other settings than this version knows; give {run.weights} from a "
            "folder without it"
        ) from error


def remedies_of(run: RunFolder, config: PretrainConfig) -> list[str]:
    """Settings that may help against the run's collapse."""
    usual = [f"a smaller training.base_learning_rate (it was {config.training.base_learning_rate:g})"]
    return list(method_of(run).get("remedies", usual))


def initial_of(run: RunFolder, backbone: Backbone) -> Backbone | None:
    """The network that a run began with; None if its initial weights were random, or are gone or changed.

    Args:
        run: its folder.
        backbone: the run's, of which a copy is filled; images are normalized as its are.
    """
    try:
        network = load_backbone(initial_weights(run), into=copy.deepcopy(backbone))
    except UserError:
        return None
    network.take_images(backbone.mean, backbone.std, rgb=backbone.rgb)
    network.bit_depth = backbone.bit_depth
    return network
