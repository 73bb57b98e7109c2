"""Checkpoints in every published layout, into the networks that they are of.

These are a quarter as wide as usual, and their files a sixteenth as large.
"""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from manyview.backbones import load_backbone, wrap_backbone
from manyview.backbones.checkpoint import read_checkpoint
from manyview.errors import UserError
from tests.helpers.checkpoint_files import LAYOUTS, Layout, State, body, network, under
from tests.helpers.narrow import narrowed


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    with narrowed(4):
        yield


@pytest.fixture(scope="module")
def networks(narrow: None) -> dict[str, nn.Module]:
    return {name: network(name) for name in ("resnet18", "resnet50")}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for file in tmp_path.iterdir():  # pytest would keep these of three sessions.
        file.unlink()


def feature_map(resnet: nn.Module, images: Tensor) -> Tensor:
    stages = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    return nn.Sequential(*(resnet.get_submodule(stage) for stage in stages))(images)


LAYERS = {"resnet18": (20, 20), "resnet50": (53, 53)}


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


@pytest.fixture(scope="module")
def sound(networks: dict[str, nn.Module], layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file of resnet18 in that layout, for reading only."""
    file = layout.write(networks["resnet18"].state_dict(), tmp_path_factory.mktemp("sound"))
    yield file
    file.unlink()


def test_every_format_gives_the_network_its_outputs(
    networks: dict[str, nn.Module], layout: Layout, sound: Path
) -> None:
    require_outputs(networks, layout, "resnet18", sound)


# A third convolution in a block has a name of its own only in Detectron2's spelling; the other layouts add prefixes.
@pytest.mark.parametrize("of", ["simsiam", "safetensors", "detectron2"])
def test_a_deeper_block_gets_its_outputs(networks: dict[str, nn.Module], of: str, folder: Path) -> None:
    require_outputs(networks, LAYOUTS[of], "resnet50", LAYOUTS[of].write(networks["resnet50"].state_dict(), folder))


def require_outputs(networks: dict[str, nn.Module], layout: Layout, name: str, path: Path) -> None:
    backbone = load_backbone(path)

    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(backbone(images), feature_map(networks[name], images), rtol=1e-6, atol=1e-6)
    layers, report = LAYERS[name][0], backbone.loading
    assert (report.format, report.network, report.inferred) == (layout.format, name, True)
    assert (report.convolutions, report.norms) == ((layers, layers), (layers, layers))
    assert set(report.dropped) == layout.dropped
    first, *rest = str(report).split("\n")
    assert first == (
        f"{name} (inferred from its shapes) from a checkpoint in the format of {layout.format}: "
        f"{layers} of {layers} convolutions and {layers} of {layers} normalization layers match"
    )
    assert len(rest) == bool(layout.dropped)
    assert all(what in rest[0] for what in layout.dropped)


# Whether counters lack is seen after the names are the network's own: a layout of each spelling, and one with copies.
@pytest.mark.parametrize("of", ["torchvision", "densecl", "detectron2, prefixed"])
def test_counters_may_lack(networks: dict[str, nn.Module], of: str, folder: Path) -> None:
    def uncounted(state: State) -> None:
        for key in [key for key in state if key.endswith("num_batches_tracked")]:
            del state[key]

    path = LAYOUTS[of].write(networks["resnet18"].state_dict(), folder, uncounted)
    images = torch.randn(1, 3, 64, 64)
    expected = feature_map(networks["resnet18"], images)
    torch.testing.assert_close(load_backbone(path, "resnet18")(images), expected, rtol=1e-6, atol=1e-6)


def test_one_tensor_amiss_is_refused_and_named(networks: dict[str, nn.Module], layout: Layout, folder: Path) -> None:
    # Each is amiss in every way, one after another through the layouts, whose names the message gives.
    turn = list(LAYOUTS.values()).index(layout)
    kind = ("missing", "renamed", "reshaped")[turn % 3]
    own = ("conv1.weight", "layer3.0.downsample.1.running_var")[turn % 2]
    key = layout.to_file(own)
    changed = key.replace("weight", "wait").replace("var", "variance")

    def change(state: State) -> None:
        value = state.pop(key)
        if kind == "renamed":
            state[changed] = value
        elif kind == "reshaped":
            state[key] = value[:-1].clone()

    path = layout.write(networks["resnet18"].state_dict(), folder, change)
    with pytest.raises(UserError) as caught:
        load_backbone(path)

    message = str(caught.value)
    assert "does not fit resnet18, which has 120 weights: " in message
    found = message.partition("120 weights: ")[2]
    shape = tuple(networks["resnet18"].state_dict()[own].shape)
    assert (
        found
        == {
            "missing": f"1 missing ({key})",
            "renamed": f"1 missing ({key}); 1 unknown ({changed})",
            "reshaped": f"1 of another shape ({key} {(shape[0] - 1, *shape[1:])} instead of {shape})",
        }[kind]
    )
    assert (f", in the format of {layout.format}," in message) == (key != own)


def test_a_wrong_architecture_is_one_sentence(layout: Layout, sound: Path) -> None:
    name = ("resnet34", "timm/resnet34")[list(LAYOUTS.values()).index(layout) % 2]
    with pytest.raises(UserError) as caught:
        load_backbone(sound, name)
    assert str(caught.value) == f"{sound} holds the weights of resnet18, not of {name}; leave the name out"


@pytest.mark.parametrize("keep", [0.01, 0.5, 0.999])
def test_a_cut_file_is_one_sentence(sound: Path, keep: float, folder: Path) -> None:
    content, path = sound.read_bytes(), folder / sound.name
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(UserError, match=r"^\S+ is (truncated|damaged)[^\n]*$"):
        load_backbone(path)


def test_the_network_that_the_options_note_is_taken(folder: Path) -> None:
    state = under("module.encoder_k.", body(network("resnet34").state_dict()))
    torch.save({"args": argparse.Namespace(arch="resnet34"), "model": state}, folder / "w.pth")
    report = load_backbone(folder / "w.pth").loading
    assert (report.network, report.inferred, report.format) == ("resnet34", False, "SlotCon")


def test_the_checkpoint_tells_what_it_holds(networks: dict[str, nn.Module], folder: Path) -> None:
    state = networks["resnet18"].state_dict()
    checkpoint = read_checkpoint(LAYOUTS["moco"].write(state, folder))
    assert checkpoint.format.title == "MoCo v2"
    assert checkpoint.tensors.keys() == body(state).keys()
    assert all(torch.equal(checkpoint.tensors[key], value) for key, value in body(state).items())
    assert checkpoint.file_names["bn1.bias"] == "module.encoder_q.bn1.bias"
    assert checkpoint.dropped["the queue of negatives"] == ("module.queue", "module.queue_ptr")
    assert checkpoint.dropped["the projector"] == ("module.encoder_q.fc.0.weight", "module.encoder_q.fc.2.weight")
    assert len(checkpoint.dropped["the momentum encoder"]) == 122


class Encoded(nn.Module):
    """A module of one's own whose names look like SimSiam's."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.fc = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(x))  # type: ignore[no-any-return]


def test_a_module_of_ones_own_keeps_its_names(folder: Path) -> None:
    module = Encoded().eval()
    torch.save(module.state_dict(), folder / "w.pth")
    backbone = load_backbone(folder / "w.pth", into=wrap_backbone(Encoded(), 16))
    images = torch.randn(1, 3, 8, 8)
    assert torch.equal(backbone(images), module(images))
    assert (backbone.loading.convolutions, backbone.loading.norms) == ((2, 2), (1, 1))


class Options:
    """What a training program may pickle beside its weights."""


def test_a_refused_checkpoint_says_how_to_convert_it(networks: dict[str, nn.Module], folder: Path) -> None:
    state = networks["resnet18"].state_dict()
    torch.save({"state_dict": state, "options": Options()}, folder / "w.pth")
    arrays = {"model": {key: value.numpy() for key, value in state.items()}, "options": Options()}
    (folder / "w.pkl").write_bytes(pickle.dumps(arrays))
    for file in ("w.pth", "w.pkl"):
        with pytest.raises(UserError, match=r"holds more than weights \(\S+\.Options\)") as caught:
            load_backbone(folder / file)
        command = re.search(r'python -c "([^"]+)"$', str(caught.value))
        assert command is not None
        exec(command[1], {})
        converted = load_backbone(folder / "w.weights.pth", "resnet18")
        images = torch.randn(1, 3, 64, 64)
        expected = feature_map(networks["resnet18"], images)
        torch.testing.assert_close(converted(images), expected, rtol=1e-6, atol=1e-6)
