"""What every export format promises: what was written comes back whole, and nothing is left of what did not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from manyview.backbones import Backbone, build_backbone, load_backbone
from manyview.errors import UserError
from manyview.export import FORMATS, Exported, export_backbone


@pytest.fixture(scope="module")
def networks() -> dict[bool, Backbone]:
    """A ResNet, which every format takes, and for those that compile it a smaller network; norms not as they start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = {False: build_backbone("resnet18"), True: build_backbone("timm/test_resnet")}
        for module in (module for network in found.values() for module in network.modules()):
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.0)
                nn.init.uniform_(module.running_mean, -0.2, 0.2)
                nn.init.uniform_(module.running_var, 0.8, 1.2)
    return {compiled: network.eval() for compiled, network in found.items()}


@pytest.fixture
def backbone(name: str, networks: dict[bool, Backbone]) -> Backbone:
    """For the format of that name."""
    return networks[FORMATS[name].sized]


@pytest.fixture(scope="module")
def written(
    networks: dict[bool, Backbone], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, Exported]]:
    """An export in each format, written once and for reading only, of a network with a normalization of its own."""
    made: dict[str, tuple[Path, Exported]] = {}

    def get(name: str) -> tuple[Path, Exported]:
        if name not in made:
            own, out = copy.deepcopy(networks[FORMATS[name].sized]), target(name, tmp_path_factory.mktemp(name))
            own.take_images((0.5, 0.4, 0.3), (0.2, 0.25, 0.3), rgb=True)
            before = copy.deepcopy(own.state_dict())
            made[name] = out, export_backbone(own, to=name, out=out, size=64 if FORMATS[name].sized else None)
            assert all(torch.equal(tensor, before[key]) for key, tensor in own.state_dict().items())
        return made[name]

    return get


def target(name: str, folder: Path) -> Path:
    return folder / f"out{next(iter(FORMATS[name].suffixes), '')}"


@pytest.mark.parametrize("name", FORMATS)
def test_all_weights_come_back_and_the_backbone_is_left_alone(
    name: str, backbone: Backbone, written: Callable[[str], tuple[Path, Exported]]
) -> None:
    out, done = written(name)

    assert done.check.matched == done.check.total > 0
    assert 0 <= done.check.difference < 1e-4
    card = json.loads(done.card.read_text())
    assert name in json.dumps(card)
    assert str(out) in FORMATS[name].lines(backbone, str(out))


@pytest.mark.parametrize("name", FORMATS)
def test_what_exists_is_not_overwritten(name: str, backbone: Backbone, tmp_path: Path) -> None:
    out = target(name, tmp_path)
    out.write_text("mine")
    with pytest.raises(UserError, match=r"exists|is there|already"):
        export_backbone(backbone, to=name, out=out)
    assert out.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", FORMATS)
def test_weights_that_are_not_finite_leave_nothing_behind(name: str, backbone: Backbone, tmp_path: Path) -> None:
    broken = copy.deepcopy(backbone)
    with torch.no_grad():
        next(broken.parameters())[0, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match="finite"):
        export_backbone(broken, to=name, out=target(name, tmp_path))
    assert not list(tmp_path.iterdir())


def test_formats_have_names_of_their_own_and_say_what_they_are() -> None:
    assert len({form.library + form.about for form in FORMATS.values()}) == len(FORMATS)
    assert all(form.name == name and form.about for name, form in FORMATS.items())


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "onnx"])
def test_every_export_loads_back_by_itself_with_its_normalization(
    name: str, backbone: Backbone, written: Callable[[str], tuple[Path, Exported]]
) -> None:
    loaded = load_backbone(written(name)[0])

    assert loaded.name == backbone.name
    assert all(torch.equal(tensor, backbone.state_dict()[key]) for key, tensor in loaded.state_dict().items())
    assert (loaded.mean, loaded.std) == ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    assert "beside the file records" in loaded.loading.normalization


def test_a_graph_says_what_to_give_instead(written: Callable[[str], tuple[Path, Exported]]) -> None:
    with pytest.raises(UserError, match=r"is an ONNX graph, .* give the file that its weights came from"):
        load_backbone(written("onnx")[0])
