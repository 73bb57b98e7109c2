"""The layer of a network that features are taken from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from manyview.backbones import Backbone
from manyview.backbones.beside import Baseline
from manyview.backbones.layers import HeadedBackbone, LayerBackbone, stages
from manyview.errors import UserError, require
from manyview.evaluation.run_heads import HEADS, trained_with
from manyview.heads import Head, build_head
from manyview.runs import run_at


def at_layer(network: Backbone, layer: str | int | None, weights: str | os.PathLike[str]) -> Backbone:
    """A network up to one of its layers, or with its run's heads on the global average of its last feature map.

    Args:
        network: the whole backbone.
        layer: a stage ("stage1", or 1; see ``backbones.layers.stages``), "projector", or "predictor", the output of
            both heads; None for the last feature map.
        weights: the network's run folder or file, to which heads belong.

    Raises:
        UserError: there is no such layer; the heads are unknown, or of other weights.
    """
    if layer is None:
        return network
    name = f"stage{layer}" if str(layer).isdecimal() else str(layer)
    if name in HEADS:
        return _headed(network, name, _heads(network, name, weights))
    found = stages(network)
    if name not in found:
        known = ", ".join([*found, *HEADS])
        lacks = "" if found else f" ({network.name} gives no maps of its stages)"
        raise UserError(f"layer of {os.fspath(weights)} must be one of {known}{lacks}, not {str(layer)!r}")
    return found[name]


def at_same_layer(baseline: Baseline, network: Backbone, evaluated: Backbone, seed: int) -> Backbone:
    """A baseline's network at the layer of the evaluated one; random init has random heads.

    Args:
        baseline: what the network is.
        network: the whole backbone.
        evaluated: of ``at_layer``.
        seed: of the heads' initial weights.

    Raises:
        UserError: the baseline has no such layer.
    """
    if not isinstance(evaluated, LayerBackbone):
        return network
    if baseline.weights is not None:
        return at_layer(network, evaluated.layer, baseline.weights)
    if not isinstance(evaluated, HeadedBackbone):
        return at_layer(network, evaluated.layer, network.name)
    assert isinstance(evaluated.heads, nn.Sequential)
    assert evaluated.layer is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = {
            name: build_head(head.describe())
            for name, head in zip(HEADS, evaluated.heads, strict=False)
            if isinstance(head, Head)
        }
    return _headed(network, evaluated.layer, heads)


def whole(network: Backbone) -> Backbone:
    """The whole backbone of a network of ``at_layer``."""
    return network.whole if isinstance(network, LayerBackbone) else network


def _headed(network: Backbone, layer: str, heads: Mapping[str, Head]) -> HeadedBackbone:
    applied = nn.Sequential(*(heads[name] for name in HEADS[: HEADS.index(layer) + 1]))
    widths = [module.out_features for module in applied.modules() if isinstance(module, nn.Linear)]
    return HeadedBackbone(network, layer, applied, widths[-1])


def _heads(network: Backbone, layer: str, weights: str | os.PathLike[str]) -> Mapping[str, Head]:
    """The heads of the run that a network's weights are of, up to one of them."""
    path = Path(weights)
    run = run_at(path)
    require(
        run is not None,
        f"layer {layer} is a head of a run, and {path} is none: give the run's folder, or leave out such weights and "
        "baselines (--beside random, --beside none)",
    )
    assert run is not None
    trained = trained_with(run, network)
    require(
        trained is not None,
        f"layer {layer} needs the checkpoint of {path} in {run.path / 'checkpoints'}, with the same weights as the "
        "backbone's: choose one of its stages",
    )
    assert trained is not None
    missing = next((name for name in HEADS[: HEADS.index(layer) + 1] if name not in trained.heads), None)
    has = ", ".join(trained.heads) or "none that can be rebuilt"
    require(missing is None, f"the run {path} has no {missing} (its heads: {has}): choose another layer")
    return trained.heads
