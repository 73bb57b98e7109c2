"""An export that is not whole is refused, and nothing of it is left."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from manyview.backbones import Backbone
from manyview.errors import UserError
from manyview.export import FORMATS, export_backbone
from manyview.export.base import ExportFormat
from manyview.export.detectron2 import require_arrival
from manyview.export.resnet_layouts import detectron2_layout
from tests.helpers.children import Child

Get = Callable[[str], Backbone]
State = dict[str, Any]
Change = Callable[[State], None]

OUT = {
    "torchvision": "a.pth",
    "timm": "a.safetensors",
    "detectron2": "a.pkl",
    "mmdet": "a.pth",
    "ultralytics": "a",
    "huggingface": "a",
}
WEIGHTS = {"ultralytics": "backbone.pt", "huggingface": "model.safetensors"}


def rewrite(path: Path, change: Change) -> None:
    """Change the tensors in a file of any of these kinds."""
    if path.suffix == ".safetensors":
        tensors: State = load_file(path)
        change(tensors)
        save_file(tensors, path, {"format": "pt"})
    elif path.suffix == ".pkl":
        content = pickle.loads(path.read_bytes())
        tensors = {name: torch.from_numpy(array) for name, array in content["model"].items()}
        change(tensors)
        content["model"] = {name: tensor.numpy() for name, tensor in tensors.items()}
        path.write_bytes(pickle.dumps(content))
    else:
        content = torch.load(path, weights_only=True)
        change(content.get("state_dict", content))
        torch.save(content, path)


def damaged(form: ExportFormat, change: Change) -> ExportFormat:
    """The same format with a fault in the writer alone: what is written changes on the disk."""

    class Damaged(type(form)):  # type: ignore[misc]
        def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
            super().write(backbone, target, size)
            rewrite(target / WEIGHTS[form.name] if form.name in WEIGHTS else target, change)

    return Damaged()


def norm_of(state: State) -> str:
    return sorted(name for name in state if name.endswith("running_var"))[5]


def rename(state: State) -> None:
    name = norm_of(state)
    state[f"{name}iance"] = state.pop(name)


def drop(state: State) -> None:
    del state[norm_of(state)]


def reshape(state: State) -> None:
    name = norm_of(state)
    state[name] = torch.cat([state[name], state[name][:1]])


def alter(state: State) -> None:
    name = norm_of(state)
    state[name] = state[name].clone()
    state[name][0] += 1e-6 * state[name][0]


def swap(state: State) -> None:
    """Two weights of one shape, each under the other's name."""
    means = sorted(name for name in state if name.endswith("running_mean"))
    first, second = next(pair for pair in combinations(means, 2) if state[pair[0]].shape == state[pair[1]].shape)
    state[first], state[second] = state[second], state[first]


FAULTS = {rename: "1 missing .*1 unknown", drop: "1 missing", reshape: "1 of another shape", alter: "1 of other values"}
FAULTS[swap] = "2 of other values"


# Two of the formats see every fault, the others a name, a value.
CASES = [(to, fault) for to in OUT for fault in FAULTS if to in ("timm", "detectron2") or fault in (rename, alter)]


@pytest.mark.parametrize(("to", "fault"), CASES, ids=lambda part: getattr(part, "__name__", part))
def test_a_fault_in_the_writer(
    slim: Get, folder: Path, monkeypatch: pytest.MonkeyPatch, to: str, fault: Change
) -> None:
    backbone = slim("timm/test_resnet" if to == "timm" else "resnet18")
    monkeypatch.setitem(FORMATS, to, damaged(FORMATS[to], fault))
    total = len(backbone.state_dict())
    left = f"only {total - (2 if fault is swap else 1)} of {total} weights match"
    with pytest.raises(UserError, match=f"differs when read back.*{left}: {FAULTS[fault]}"):
        export_backbone(backbone, to=to, out=folder / OUT[to])
    assert list(folder.iterdir()) == []


def test_the_writer_without_a_fault_passes(slim: Get, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is the fault that is caught, not the changing of the file."""
    monkeypatch.setitem(FORMATS, "torchvision", damaged(FORMATS["torchvision"], lambda state: None))
    assert export_backbone(slim("resnet18"), to="torchvision", out=folder / "a.pth").check.matched == 120


def test_a_file_that_is_cut(small: Backbone, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(type(FORMATS["torch-export"])):  # type: ignore[misc]
        def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
            super().write(backbone, target, size)
            target.write_bytes(target.read_bytes()[:5000])

    monkeypatch.setitem(FORMATS, "torch-export", Cut())
    with pytest.raises(UserError, match="torch-export could not be read back, so it was removed"):
        export_backbone(small, to="torch-export", out=folder / "a.pt2")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("to", "out"), [("onnx", "a.onnx"), ("torch-export", "a.pt2")])
def test_a_compiled_network_of_other_weights(
    small: Backbone, folder: Path, monkeypatch: pytest.MonkeyPatch, to: str, out: str
) -> None:
    class Other(type(FORMATS[to])):  # type: ignore[misc]
        def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
            other = copy.deepcopy(backbone)
            other.state_dict()["1.running_var"][0] *= 1.01
            super().write(other, target, size)

    monkeypatch.setitem(FORMATS, to, Other())
    reason = "the feature maps differ by up to" if to == "onnx" else "1 of other values"
    with pytest.raises(UserError, match=f"differs when read back.*{reason}"):
        export_backbone(small, to=to, out=folder / out)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "part"),
    [
        ("resnet50", '"downsample_in_bottleneck": false', '"downsample_in_bottleneck": true', "feature maps differ"),
        ("resnet18", '"hidden_act": "relu"', '"hidden_act": "silu"', "feature maps differ"),
        ("resnet18", '"model_type": "resnet"', '"model_type": "resnet', "could not be read back"),
    ],
)
def test_a_wrong_configuration(
    slim: Get, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str, part: str
) -> None:
    class Misconfigured(type(FORMATS["huggingface"])):  # type: ignore[misc]
        def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
            super().write(backbone, target, size)
            text = (target / "config.json").read_text()
            assert old in text
            (target / "config.json").write_text(text.replace(old, new))

    monkeypatch.setitem(FORMATS, "huggingface", Misconfigured())
    with pytest.raises(UserError, match=part):
        export_backbone(slim(name), to="huggingface", out=folder / "a")
    assert list(folder.iterdir()) == []


def test_detectron2_needs_its_entries(slim: Get, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare(type(FORMATS["detectron2"])):  # type: ignore[misc]
        def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
            super().write(backbone, target, size)
            content = pickle.loads(target.read_bytes())
            del content["matching_heuristics"]
            target.write_bytes(pickle.dumps(content))

    monkeypatch.setitem(FORMATS, "detectron2", Bare())
    with pytest.raises(UserError, match="matching_heuristics"):
        export_backbone(slim("resnet18"), to="detectron2", out=folder / "a.pkl")


def test_a_prefix_would_leave_the_c4_head_random() -> None:
    layout = detectron2_layout("resnet50")
    prefixed = [f"backbone.{name}" for name in layout]

    with pytest.raises(UserError, match=r"roi_heads\.res5\.0.* of Detectron2's C4 would take nothing"):
        require_arrival(prefixed, "C4", layout)
    for configuration in ("C4", "FPN"):
        require_arrival(list(layout), configuration, layout)


def test_weights_that_are_not_finite(slim: Get, folder: Path) -> None:
    broken = copy.deepcopy(slim("timm/test_resnet"))
    broken.state_dict()[norm_of(broken.state_dict())][0] = torch.nan
    with pytest.raises(UserError, match="1 of the weights are not finite"):
        export_backbone(broken, to="timm", out=folder / "a.pth")
    assert list(folder.iterdir()) == []


def test_the_backbone_handed_over_does_not_change(slim: Get, folder: Path) -> None:
    backbone = copy.deepcopy(slim("timm/test_resnet")).train()
    before = copy.deepcopy(backbone.state_dict())
    done = export_backbone(backbone, to="timm", out=folder / "a.pth")

    assert backbone.training
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
    assert json.loads(done.card.read_text())["source"]["weights"] is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no limit of a process alone on this system")
def test_a_disk_that_is_full(slim: Get, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Here no file may grow beyond a megabyte, which the system tells as it tells a full disk."""
    backbone = slim("resnet18")
    outs = {"torchvision": "a.pth", "timm": "a.safetensors", "detectron2": "a.pkl", "huggingface": "a"}

    def work() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
        for to, out in outs.items():
            try:
                export_backbone(backbone, to=to, out=folder / out)
            except UserError as error:
                os.write(1, f"{to} {len(str(error).splitlines())} {out in str(error)}\n".encode())

    child = Child(work, tmp_path_factory.mktemp("log") / "log.txt")
    status = child.wait(100)
    child.clear_away()

    assert child.log.read_text().splitlines() == [f"{to} 1 True" for to in outs]
    assert status == 0
    assert list(folder.iterdir()) == []
