"""Checkpoints of any project: the network's weights are found behind any prefix, in any entry and spelling."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from manyview.backbones import build_backbone, load_backbone
from manyview.backbones.formats import spellings, unwrapped
from manyview.backbones.search import candidates
from manyview.errors import UserError
from tests.helpers.checkpoint_files import State, mlp, network, other, under
from tests.helpers.narrow import narrowed

NAME = "timm/test_resnet"  # a ResNet of a few blocks, whose names are torchvision's


@pytest.fixture(scope="module")
def state() -> State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = build_backbone(NAME).state_dict()
    return {key: value.clone() for key, value in found.items()}


def numbered(state: State) -> State:
    """As ``nn.Sequential(*network.children())`` names them; both ReLU and pooling count."""
    order = [name for name, _ in build_backbone(NAME).network.named_children()]  # type: ignore[union-attr]
    return {f"{order.index(key.partition('.')[0])}.{key.partition('.')[2]}": value for key, value in state.items()}


def compiled_inside(state: State) -> State:
    return {re.sub(r"^(layer\d)\.", r"\1._orig_mod.", key): value for key, value in state.items()}


def head(prefix: str) -> State:
    return mlp(prefix, 0, 2)


# What a program writes, where the report says the weights are, and what it lists as left out.
FILES: dict[str, tuple[Callable[[State], Any], str, set[str]]] = {
    "compiled": (lambda s: under("_orig_mod.", s), "", set()),
    "compiled in DataParallel": (lambda s: {"state_dict": under("module._orig_mod.", s)}, "", set()),
    "DataParallel compiled": (lambda s: {"state_dict": under("_orig_mod.module.", s)}, "", set()),
    "twice wrapped": (lambda s: under("module.module._orig_mod.module.", s), "", set()),
    "parts compiled": (compiled_inside, "", set()),
    "FSDP": (lambda s: under("_fsdp_wrapped_module.backbone._orig_mod.", s), 'under "backbone."', set()),
    "model.": (lambda s: {"state_dict": under("model.", s)}, 'under "model." of its entry "state_dict"', set()),
    "net.": (lambda s: {"net": under("net.", s)}, 'under "net." of its entry "net"', set()),
    "model_state_dict": (
        lambda s: {
            "epoch": 3,
            "model_state_dict": s,
            "optimizer_state_dict": {"state": {0: {"exp_avg": next(iter(s.values()))}}},
        },
        'in its entry "model_state_dict"',
        set(),
    ),
    "deep": (
        lambda s: {"model": {"net": {"state_dict": under("module.encoder.backbone.", s)}}},
        'under "encoder.backbone." of its entry "model/net/state_dict"',
        set(),
    ),
    "Lightning": (
        lambda s: {
            "state_dict": {**under("model.backbone.", s), **head("model.projection_head."), **head("model.predictor.")},
            "pytorch-lightning_version": "2.6",
        },
        'under "model.backbone." of its entry "state_dict"',
        {"the projector", "the predictor"},
    ),
    "timm with its average": (
        lambda s: {"arch": "test_resnet", "state_dict": other(s), "state_dict_ema": s},
        'in its entry "state_dict_ema"',
        {'the network in its entry "state_dict"'},
    ),
    "DINO": (
        lambda s: {
            "student": {**under("module.backbone.", other(s)), **head("module.head.mlp.")},
            "teacher": {**under("backbone.", s), **head("head.mlp.")},
            "epoch": 100,
            "dino_loss": {"center": torch.zeros(1, 4)},
        },
        'under "backbone." of its entry "teacher"',
        {"the student", "the head", "the loss"},
    ),
    "DINOv2": (
        lambda s: {"model": {**under("student.backbone.", other(s)), **under("teacher.backbone.", s)}},
        'under "teacher.backbone." of its entry "model"',
        {"the student"},
    ),
    "student_backbone.": (
        lambda s: {"state_dict": {**under("student_backbone.", other(s)), **under("teacher_backbone.", s)}},
        'under "teacher_backbone." of its entry "state_dict"',
        {"the student"},
    ),
    "student alone": (lambda s: under("student_backbone.", s), 'under "student_backbone."', set()),
    "MoCo v3": (
        lambda s: {
            "state_dict": {
                **under("module.base_encoder.", s | head("fc.")),
                **under("module.momentum_encoder.", other(s)),
                **head("module.predictor."),
            }
        },
        'under "base_encoder." of its entry "state_dict"',
        {"the classifier", "the momentum encoder", "the predictor"},
    ),
    "BYOL": (
        lambda s: {"online_encoder": under("net.", s), "target_encoder": under("net.", other(s))},
        'under "net." of its entry "online_encoder"',
        {"the target encoder"},
    ),
    "lightly": (
        lambda s: {"state_dict": {**under("backbone.", s), **under("backbone_momentum.", other(s))}},
        'under "backbone." of its entry "state_dict"',
        {"the momentum encoder"},
    ),
    "SwAV": (
        lambda s: under("module.", {**s, **head("projection_head."), "prototypes.weight": torch.ones(30, 4)}),
        "",
        {"the projector", "the prototypes"},
    ),
    "SwAV, several prototypes": (
        lambda s: {"state_dict": under("module.", {**s, "prototypes.prototypes0.weight": torch.ones(30, 4)})},
        "",
        {"the prototypes"},
    ),
    "VISSL": (
        lambda s: {"classy_state_dict": {"base_model": {"model": {"trunk": under("_feature_blocks.", s)}}}},
        'under "_feature_blocks." of its entry "classy_state_dict/base_model/model/trunk"',
        set(),
    ),
    "Sequential": (numbered, "", set()),
    "Sequential in a module": (
        lambda s: {"state_dict": {**under("backbone.", numbered(s)), **head("projection_head.layers.")}},
        'under "backbone." of its entry "state_dict"',
        {"the projector"},
    ),
    "some head": (lambda s: {**s, "g.0.weight": torch.ones(8, 4)}, "", {"what is not the encoder"}),
    "twice the same": (
        lambda s: {"state_dict": {**under("backbone.", s), **under("model.backbone.", s)}},
        'under "backbone." of its entry "state_dict"',
        {'the network under "model.backbone." of its entry "state_dict"'},
    ),
    "numbers beside weights": (lambda s: {**s, "epoch": 3, "name": "mine"}, "", set()),
}


@pytest.mark.parametrize("file", FILES)
def test_the_network_is_found_whole_and_told_where(file: str, state: State, tmp_path: Path) -> None:
    make, location, dropped = FILES[file]
    torch.save(make(state), tmp_path / "w.pth")

    loaded = load_backbone(tmp_path / "w.pth", NAME)

    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    assert loaded.loading is not None
    assert loaded.loading.location == location
    assert set(loaded.loading.dropped) == dropped
    assert location in str(loaded.loading)
    assert loaded.loading.convolutions[0] == loaded.loading.convolutions[1] > 0


@pytest.mark.parametrize("file", ["model.", "DINO", "Sequential in a module", "SwAV"])
@narrowed(4)
def test_a_resnet_needs_no_name(file: str, tmp_path: Path) -> None:
    resnet = {key: value for key, value in network("resnet18").state_dict().items() if not key.startswith("fc.")}
    make, location, _ = FILES[file]
    torch.save(make(resnet) if "Sequential" not in file else sequential(file), tmp_path / "w.pth")

    loaded = load_backbone(tmp_path / "w.pth")

    (tmp_path / "w.pth").unlink()
    assert (loaded.name, loaded.loading.inferred, loaded.loading.location) == ("resnet18", True, location)
    assert all(torch.equal(value, resnet[key]) for key, value in loaded.state_dict().items())


def sequential(file: str) -> Any:
    """The same of a whole ResNet by PyTorch itself, which numbers the modules."""
    children = list(network("resnet18").children())
    return {"state_dict": {**under("backbone.", nn.Sequential(*children[:-1]).state_dict())}}


@pytest.mark.parametrize(
    ("make", "places"),
    [
        (lambda s: {**under("left.", s), **under("right.", other(s))}, ['under "left."', 'under "right."']),
        (lambda s: {"a": s, "b": other(s)}, ['in its entry "a"', 'in its entry "b"']),
        (
            lambda s: {"model": {**under("rgb.net.", s), **under("depth.net.", other(s))}},
            ['under "rgb.net." of its entry "model"', 'under "depth.net." of its entry "model"'],
        ),
        (lambda s: {"teacher": {**under("one.", s), **under("two.", other(s))}}, ['under "one."', 'under "two."']),
    ],
)
def test_what_is_ambiguous_is_refused_and_its_command_resolves_it(
    make: Callable[[State], Any], places: list[str], state: State, tmp_path: Path
) -> None:
    torch.save(make(state), tmp_path / "w.pth")

    with pytest.raises(UserError, match="holds 2 different networks of the same layout") as caught:
        load_backbone(tmp_path / "w.pth", NAME)

    assert all(place in str(caught.value) for place in places)
    command = re.search(r'python -c "([^"]+)"$', str(caught.value))
    assert command is not None
    exec(command[1], {})
    loaded = load_backbone(tmp_path / "w.weights.pth", NAME)
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


def test_two_networks_of_other_shapes_are_told_apart_by_the_name(state: State, tmp_path: Path) -> None:
    wide = {key: torch.cat([value, value]) if value.ndim else value for key, value in state.items()}
    torch.save({**under("small.", state), **under("large.", wide)}, tmp_path / "w.pth")
    assert load_backbone(tmp_path / "w.pth", NAME).loading.location == 'under "small."'


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("layer4.5.conv1.weight", (4, 4)),
        ("layer5.0.conv1.weight", (4, 4, 3, 3)),
        ("layer1.0.se.weight", (4,)),
        ("dist", (4,)),
    ],
)
def test_a_network_with_more_layers_than_this_is_refused(
    name: str, shape: tuple[int, ...], state: State, tmp_path: Path
) -> None:
    torch.save({"state_dict": under("backbone.", {**state, name: torch.ones(shape)})}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"1 unknown \(backbone\.{re.escape(name)}\)"):
        load_backbone(tmp_path / "w.pth", NAME)


@pytest.mark.parametrize("prefix", ["", "student.", "module.net.backbone."])
def test_one_weight_missing_behind_a_prefix_is_named(prefix: str, state: State, tmp_path: Path) -> None:
    lacking = {key: value for key, value in state.items() if key != "layer2.0.bn1.weight"}
    torch.save({"model_state_dict": under(prefix, lacking)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf": 1 missing \({re.escape(prefix)}layer2\.0\.bn1\.weight\)$"):
        load_backbone(tmp_path / "w.pth", NAME)


def test_names_that_wrappers_make_equal_stay_as_they_are() -> None:
    assert unwrapped(["module.a.weight", "b._orig_mod.weight"]) == {
        "a.weight": "module.a.weight",
        "b.weight": "b._orig_mod.weight",
    }
    both = ["module.a", "a"]
    assert unwrapped(both) == {name: name for name in both}


def test_candidates_are_counted_by_their_names() -> None:
    tensors: dict[str, Tensor] = {f"p.{key}": torch.zeros(1) for key in ("a.weight", "b.weight", "b.bias")}
    first, *_ = candidates({"": tensors}, ["a.weight", "b.weight", "b.bias", "c.weight"], spellings(()))
    assert (first.prefix, len(first.names), first.complete) == ("p.", 3, False)


def test_numbers_are_those_of_pytorchs_own_sequence() -> None:
    resnet = models.resnet18(weights=None)
    [*_, spelling] = spellings([name for name, _ in resnet.named_children()])
    expected = nn.Sequential(*resnet.children()).state_dict()
    assert [spelling.to_file(name) for name in resnet.state_dict()] == list(expected)
