"""Heads of a pre-training run, from its newest checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from manyview.backbones import Backbone
from manyview.backbones.files import read_tensors
from manyview.backbones.weights import blended
from manyview.errors import UserError
from manyview.heads import Head, Projector, build_head
from manyview.runs import RunFolder, TrainingCheckpoint

HEADS = ("projector", "predictor")
"""Heads by role, in the order in which they are applied to the pooled features."""

# The parts of runs that do not record them.
_USUAL_PARTS: dict[str, Any] = {"backbone": {"module": "backbone"}, "projector": {"module": "projector"}}
_FIRST_LAYER = "layers.0.weight"


@dataclass(frozen=True)
class Trained:
    """Heads and steps of a trained backbone.

    Attributes:
        steps: optimizer steps.
        heads: of ``HEADS``, on the CPU and in eval mode; those that the method has.
    """

    steps: int
    heads: Mapping[str, Head]

    @property
    def projector(self) -> Head | None:
        """The head on the pooled features; None if the method has none."""
        return self.heads.get(HEADS[0])


def method_of(run: RunFolder) -> dict[str, Any]:
    """``parts`` and ``remedies`` that the run's method recorded; empty for older runs."""
    try:
        method = run.read_json("run.json").get("method", {})
    except UserError:
        return {}  # the weights and their configuration were copied without it
    return method if isinstance(method, dict) else {}


def trained_with(run: RunFolder, backbone: Backbone) -> Trained | None:
    """Heads and steps of the run's newest checkpoint; None if it is missing, or its backbone has other weights."""
    try:
        checkpoint, _ = run.checkpoints.load_newest()
    except UserError:
        return None  # all checkpoints are damaged; the backbone is not
    parts = method_of(run).get("parts", _USUAL_PARTS)
    if checkpoint is None or not _same_weights(backbone, _written(run, _part(checkpoint, parts["backbone"]))):
        return None
    heads = {
        name: _head(_part(checkpoint, parts[name]), parts[name].get("layers")) for name in HEADS if parts.get(name)
    }
    return Trained(checkpoint.step, {name: head for name, head in heads.items() if head is not None})


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


def _same_weights(backbone: Backbone, tensors: dict[str, Tensor]) -> bool:
    """Whether weights are equal; a run killed while saving has weights and checkpoint of different steps."""
    own = backbone.state_dict()
    return own.keys() == tensors.keys() and all(torch.equal(own[key].cpu(), tensors[key]) for key in own)
