"""What a run's folder holds beside its backbone: its configuration, and the newest checkpoint's projector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from manyview.backbones import Backbone
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.heads import Projector
from manyview.runs import Checkpoint, RunFolder

_BACKBONE, _PROJECTOR = "model.backbone.", "model.projector."
_FIRST_LAYER = "layers.0.weight"


def run_at(weights: Path) -> RunFolder | None:
    """The run that a folder holds, or that a file is the weights of; None for other weights."""
    run = RunFolder(weights if weights.is_dir() else weights.parent)
    return run if run.holds_a_run and weights in (run.path, run.weights) else None


def run_config(run: RunFolder) -> PretrainConfig:
    """What the run was told to do.

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


@dataclass(frozen=True)
class Trained:
    """What was trained together with a backbone.

    Attributes:
        steps: optimiser steps.
        projector: on the CPU and in eval mode; None if the method has another.
    """

    steps: int
    projector: Projector | None


def trained_with(run: RunFolder, backbone: Backbone) -> Trained | None:
    """What the run's newest checkpoint says of these very weights; None if it is of others, or there is none.

    Args:
        run: the run's folder.
        backbone: loaded from it.
    """
    try:
        checkpoint, _ = run.checkpoints.load_newest()
    except UserError:
        return None  # all checkpoints are damaged; the backbone is not
    if checkpoint is None or not _same_weights(backbone, _part(checkpoint, _BACKBONE)):
        return None
    return Trained(checkpoint.step, _projector(_part(checkpoint, _PROJECTOR)))


def _projector(tensors: dict[str, Tensor]) -> Projector | None:
    if _FIRST_LAYER not in tensors:
        return None
    out_dim, in_dim = tensors[_FIRST_LAYER].shape
    projector = Projector(in_dim, out_dim)
    if projector.state_dict().keys() != tensors.keys():
        return None
    projector.load_state_dict(tensors)
    return projector.eval()


def _part(checkpoint: Checkpoint, prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in checkpoint.tensors.items() if key.startswith(prefix)}


def _same_weights(backbone: Backbone, tensors: dict[str, Tensor]) -> bool:
    """A run that was killed while it saved has weights of one step and a checkpoint of another."""
    own = backbone.state_dict()
    return own.keys() == tensors.keys() and all(torch.equal(own[key].cpu(), tensors[key]) for key in own)
