"""Configuration, method and trained projector of a run's folder."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from manyview.backbones import Backbone, load_backbone
from manyview.backbones.beside import initial_weights
from manyview.backbones.files import read_tensors
from manyview.backbones.weights import blended
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.heads import Head, Projector, build_head
from manyview.runs import RunFolder, TrainingCheckpoint

# The parts of runs that do not record them.
_USUAL_PARTS: dict[str, Any] = {"backbone": {"module": "backbone"}, "projector": {"module": "projector"}}
_FIRST_LAYER = "layers.0.weight"


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


def method_of(run: RunFolder) -> dict[str, Any]:
    """``parts`` and ``remedies`` that the run's method recorded; empty for older runs."""
    try:
        method = run.read_json("run.json").get("method", {})
    except UserError:
        return {}  # the weights and their configuration were copied without it
    return method if isinstance(method, dict) else {}


def remedies_of(run: RunFolder, config: PretrainConfig) -> list[str]:
    """Settings that may help against the run's collapse."""
    usual = [f"a smaller training.base_learning_rate (it was {config.training.base_learning_rate:g})"]
    return list(method_of(run).get("remedies", usual))


@dataclass(frozen=True)
class Trained:
    """Projector and steps of a trained backbone.

    Attributes:
        steps: optimizer steps.
        projector: on the CPU and in eval mode; None if the method has none.
    """

    steps: int
    projector: Head | None


def trained_with(run: RunFolder, backbone: Backbone) -> Trained | None:
    """Projector and steps of the run's newest checkpoint; None if it is missing, or its backbone has other weights."""
    try:
        checkpoint, _ = run.checkpoints.load_newest()
    except UserError:
        return None  # all checkpoints are damaged; the backbone is not
    parts = method_of(run).get("parts", _USUAL_PARTS)
    if checkpoint is None or not _same_weights(backbone, _written(run, _part(checkpoint, parts["backbone"]))):
        return None
    projector = parts.get("projector")
    return Trained(checkpoint.step, _head(_part(checkpoint, projector), projector.get("layers")) if projector else None)


def _head(tensors: dict[str, Tensor], layers: list[dict[str, Any]] | None) -> Head | None:
    """A head with its weights; None if it is not the usual one, and the run does not record its layers."""
    if layers is None:
        if _FIRST_LAYER not in tensors:
            return None
        out_dim, in_dim = tensors[_FIRST_LAYER].shape
        head: Head = Projector(in_dim, out_dim)
    else:
        head = build_head(layers)
    if head.state_dict().keys() != tensors.keys():
        return None
    head.load_state_dict(tensors)
    return head.eval()


def _part(checkpoint: TrainingCheckpoint, part: dict[str, Any]) -> dict[str, Tensor]:
    prefix = f"model.{part['module']}."
    return {key.removeprefix(prefix): value for key, value in checkpoint.tensors.items() if key.startswith(prefix)}


def _written(run: RunFolder, trained: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights that the run writes for trained ones: their blend with the initial weights, if it has one."""
    share = run.read_json("config.json").get("training", {}).get("blend", 1.0)
    if share == 1 or not run.initial.is_file():
        return trained
    initial = read_tensors(run.initial).tensors
    return blended(initial, trained, share) if initial.keys() == trained.keys() else trained


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
    return network


def _same_weights(backbone: Backbone, tensors: dict[str, Tensor]) -> bool:
    """Whether weights are equal; a run killed while saving has weights and checkpoint of different steps."""
    own = backbone.state_dict()
    return own.keys() == tensors.keys() and all(torch.equal(own[key].cpu(), tensors[key]) for key in own)
