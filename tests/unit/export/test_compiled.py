"""ONNX and torch.export: any number of images, of any size where the network allows it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyview.backbones import Backbone, wrap_backbone
from manyview.errors import UserError
from manyview.export import export_backbone

Get = Callable[[str], Backbone]
Run = Callable[[Tensor], Tensor]


def read(path: Path) -> Run:
    """The program, by the library it is for."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["features"], {"images": images.numpy()})[0])


def require_same(run: Run, backbone: Backbone, *shapes: tuple[int, int, int]) -> None:
    for seed, (batch, height, width) in enumerate(shapes):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(batch, backbone.in_channels, height, width, generator=generator)
        with torch.no_grad():
            torch.testing.assert_close(run(images), backbone(images), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def shallow_ones() -> dict[str, Backbone]:
    return {}


@pytest.fixture
def shallow(slim: Get, shallow_ones: dict[str, Backbone]) -> Get:
    """Networks with one block where they have several in a row, and a ResNet's first two stages of four.

    What is traced takes as long as it has operations; the later stages are of the same ones.
    """

    def get(name: str) -> Backbone:
        if name not in shallow_ones:
            shallow_ones[name] = made(name)
        return shallow_ones[name]

    def made(name: str) -> Backbone:
        backbone = copy.deepcopy(slim(name))
        for blocks in [module for module in backbone.modules() if isinstance(module, nn.Sequential)]:
            if len(blocks) > 1 and len({type(block) for block in blocks}) == 1:
                del blocks[1:]
        resnet = getattr(backbone, "network", backbone)
        for stage in ("layer3", "layer4"):
            if hasattr(resnet, stage):
                setattr(resnet, stage, nn.Identity())
        return backbone

    return get


# ONNX is made of what torch.export traces, of any size as here.
@pytest.mark.parametrize(("name", "out"), [("resnet18", "a.onnx"), ("timm/test_resnet", "a.pt2")])
def test_a_network_of_any_size(
    shallow: Get, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, out: str
) -> None:
    # PyTorch traces with symbols for sizes, which the tests' checker of annotations does not take for integers.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", name.startswith("timm/"))
    to = "onnx" if out == "a.onnx" else "torch-export"
    done = export_backbone(shallow(name), to=to, out=folder / out)

    require_same(read(folder / out), shallow(name), (1, 64, 64), (2, 100, 70), (4, 65, 130))
    assert done.check.matched == done.check.total == (4 if to == "onnx" else len(shallow(name).state_dict()))
    assert done.check.difference <= 1e-4 * done.check.magnitude
    assert {file.name for file in folder.iterdir()} == {out, f"{out}.json"}


@pytest.mark.parametrize("out", ["a.onnx", "a.pt2"])
def test_a_transformer_keeps_its_size(shallow: Get, folder: Path, out: str) -> None:
    to = "onnx" if out == "a.onnx" else "torch-export"
    done = export_backbone(shallow("timm/test_vit"), to=to, out=folder / out)

    require_same(read(folder / out), shallow("timm/test_vit"), (1, 160, 160), (5, 160, 160))
    assert '"image_size": [\n      160,\n      160\n    ]' in done.card.read_text()
    if to == "torch-export":
        with pytest.raises(AssertionError, match="160"):
            read(folder / out)(torch.zeros(1, 3, 96, 96))


def test_the_size_can_be_fixed(shallow: Get, folder: Path) -> None:
    export_backbone(shallow("timm/test_vit"), to="torch-export", out=folder / "a.pt2", size=96)

    require_same(read(folder / "a.pt2"), shallow("timm/test_vit"), (2, 96, 96))


class Own(nn.Module):
    """Somebody's own network, for images of five bands."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(5, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, 2, 1))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch dim h w"]:
        return self.layers(x)


@pytest.mark.parametrize("out", ["a.onnx", "a.pt2"])
def test_a_module_of_ones_own(folder: Path, out: str) -> None:
    backbone = wrap_backbone(Own().eval(), image_size=32, in_channels=5)
    export_backbone(backbone, to="onnx" if out == "a.onnx" else "torch-export", out=folder / out)

    require_same(read(folder / out), backbone, (1, 40, 33), (3, 64, 64))


class Picky(nn.Module):
    """A network that looks at the sizes and at the values."""

    def __init__(self, of_values: bool) -> None:
        super().__init__()
        self.layer, self.of_values = nn.Conv2d(3, 4, 1), of_values

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch dim h w"]:
        if self.of_values and x.sum() > 0:
            return self.layer(-x)
        return self.layer(x) if x.shape[2] == 64 else self.layer(2 * x)


@pytest.mark.parametrize(
    ("of_values", "size", "part"),
    [(False, None, "images of any size"), (True, 32, "images of 32 x 32 pixels")],
)
def test_a_network_that_cannot_be_traced(folder: Path, of_values: bool, size: int | None, part: str) -> None:
    backbone = wrap_backbone(Picky(of_values).eval(), image_size=32)
    with pytest.raises(UserError, match=f"Picky cannot be compiled for {part} .*--size"):
        export_backbone(backbone, to="torch-export", out=folder / "a.pt2", size=size)
    assert list(folder.iterdir()) == []


def test_onnx_names_the_package_it_lacks(slim: Get, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"needs onnxruntime; install it with: pip install 'manyview\[export\]'"):
        export_backbone(slim("resnet18"), to="onnx", out=folder / "a.onnx")
