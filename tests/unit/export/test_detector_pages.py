"""The pages on detectors: their commands are run, and their lines executed in the order they stand."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model
from typer.testing import CliRunner

from manyview.backbones import Backbone, build_backbone, save_backbone
from manyview.cli.parts.app import app
from manyview.detection import pictures
from manyview.export import FORMATS, export_backbone
from tests.helpers.narrow import narrowed
from tests.helpers.shapes import KINDS, write_shapes

Get = Callable[[str], Backbone]
PAGES = Path(__file__).parents[3] / "docs" / "detectors"
IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(6))
# What the pages call the runs they export.
RUNS = {"runs/a": "resnet50", "runs/vit": "timm/test_vit"}


class Page:
    """A page's commands, those that export, and blocks of Python."""

    def __init__(self, name: str) -> None:
        self.text = (PAGES / f"{name}.md").read_text()
        self.lines = re.findall(r"^manyview .*$", self.text, re.MULTILINE)
        self.commands = re.findall(r"^manyview export (\S+) --to (\S+) --out (\S+)$", self.text, re.MULTILINE)
        self.blocks = re.findall(r"```python\n(.*?)```", self.text, re.DOTALL)

    def export(self, get: Get, small: Backbone) -> None:
        """Do what the commands say; compiling takes long, and its lines are the same for every network."""
        for weights, to, out in self.commands:
            backbone = small if to in ("onnx", "torch-export") else get(RUNS[weights])
            export_backbone(backbone, to=to, out=out)

    def execute(self) -> dict[str, Any]:
        """All blocks, one after another, as in one program."""
        names: dict[str, Any] = {}
        for block in self.blocks:
            exec(block, names)
        return names


Read = Callable[[str, Get], Page]


@pytest.fixture
def page(small: Backbone, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """A page after its commands were run in the current folder."""
    monkeypatch.chdir(folder)

    def read(name: str, get: Get) -> Page:
        made = Page(name)
        made.export(get, small)
        return made

    return read


def arrived(state: dict[str, Tensor], backbone: Backbone) -> bool:
    own = backbone.state_dict()
    return state.keys() == own.keys() and all(torch.equal(state[key], own[key]) for key in own)


def names_of_pages() -> list[str]:
    return sorted(file.stem for file in PAGES.glob("*.md"))


def test_every_format_has_its_commands_and_lines_on_a_page() -> None:
    shown = {}
    with torch.device("meta"):
        backbone = build_backbone("resnet50")
    for name in names_of_pages():
        text = Page(name)
        for weights, to, out in text.commands:
            if RUNS[weights] == "resnet50" and name != "README":
                shown[to] = FORMATS[to].lines(backbone, out) in text.text
    assert shown == dict.fromkeys(FORMATS, True)


def test_the_table_names_every_format() -> None:
    table = Page("README").text
    assert [name for name in FORMATS if f"`{name}`" not in table] == []
    assert set(re.findall(r"\]\((\S+)\.md\)", table)) == set(names_of_pages()) - {"README"}


@pytest.mark.parametrize("name", names_of_pages())
def test_every_command_is_one_that_is_run(name: str) -> None:
    page = Page(name)
    own = [line for line in page.lines if name == "manyview" and line.startswith("manyview detect ")]
    assert len(page.lines) == len(page.commands) + len(own) >= 1
    for line in set(page.lines) - set(own):
        assert [word for word in shlex.split(line) if word.startswith("--")] == ["--to", "--out"]


@pytest.mark.parametrize("name", names_of_pages())
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", Page(name).text)
    assert [link for link in links if not link.startswith("http") and not (PAGES / link).exists()] == []


def test_overview(page: Read, slim: Get) -> None:
    names = page("README", slim).execute()

    assert names["exported"].check.matched == 2
    with torch.no_grad():
        assert torch.allclose(
            torch.export.load("exports/own.pt2").module()(IMAGES), names["network"](IMAGES), atol=1e-5
        )


# What makes the training on manyview's own page a matter of seconds.
_TINY = "--iterations 1 --short-side 32 --batch-size 2 --regions 4 --test-proposals 6 --precise-batches 1"


@narrowed(8)
def test_manyview(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is of a narrow network, the images are shapes, and the pictures small, whose files take long to make."""
    monkeypatch.chdir(folder)
    for name in ("_ALONE", "_IN_SHEET"):
        monkeypatch.setattr(pictures, name, 96)
    (folder / "runs/a").mkdir(parents=True)
    save_backbone(build_backbone("resnet18"), folder / "runs/a/backbone.safetensors", {})
    for name in ("train", "val"):
        write_shapes(folder / "photos", 3).rename(folder / f"{name}.json")
    (folder / "new-photos").mkdir()
    shutil.copy(folder / "photos/00.png", folder / "new-photos/beach.jpg")
    page = Page("manyview")
    for line in page.lines:
        words = [*shlex.split(line)[1:], *([] if "--predict" in line else shlex.split(_TINY))]
        result = CliRunner().invoke(app, [*words, "--workers", "0", "--device", "cpu"])
        assert result.exception is None, result.output

    names = page.execute()

    written = re.findall(r"^\| `(\S+)` \|", page.text, re.MULTILINE)
    assert [name for name in written if not (folder / "runs/a-masks" / name).is_file()] == []
    shown = set(re.findall(r"`(found\S*)`", page.text))
    written = {f"{file.name}/" if file.is_dir() else file.name for file in folder.glob("found*")}
    assert shown == written == {"found.json", "found-images.json", "found.png", "found-pictures/"}
    assert names["description"].classes == KINDS
    found, count = names["found"], len(names["found"]["boxes"])
    assert set(found) == {"boxes", "labels", "scores", "box_masks"}
    assert names["masks"].shape == (count, 64, 64)
    # The command and the lines find the same.
    results = names["results"].dataset["annotations"]
    kept = [score for score in found["scores"].tolist() if score >= 0.25]  # what --predict writes, with five digits
    assert [result["score"] for result in results] == pytest.approx(kept, abs=1e-5) != []
    rles = [rle["counts"].decode() for rle in names["rles"]]
    assert [result["segmentation"]["counts"] for result in results] == rles[: len(kept)]


def test_torchvision(page: Read, slim: Get) -> None:
    names = page("torchvision", slim).execute()

    body = names["detector"].backbone.body
    assert arrived(body.state_dict(), slim("resnet50"))
    assert all(parameter.requires_grad for parameter in body.parameters())
    assert names["detector"].transform.image_mean == [0.485, 0.456, 0.406]
    with torch.no_grad():
        assert names["network"].eval()(IMAGES).shape == (2, 1000)


def test_timm(page: Read, slim: Get) -> None:
    names = page("timm", slim).execute()

    with torch.no_grad():
        last = names["pyramid"].eval()(IMAGES)[-1]
        assert torch.allclose(last, slim("resnet50")(IMAGES), atol=1e-5)
    assert arrived(names["model"].state_dict(), slim("timm/test_vit"))
    assert list(names["wanted"]["mean"]) == [0.485, 0.456, 0.406]


def test_transformers(page: Read, slim: Get) -> None:
    names = page("transformers", slim).execute()

    assert names["backbone"].channels == [512 // 4, 1024 // 4, 2048 // 4]
    with torch.no_grad():
        expected = slim("resnet50")(IMAGES)
        assert torch.allclose(names["backbone"].eval()(IMAGES).feature_maps[-1], expected, atol=1e-5)
        assert torch.allclose(names["body"].eval()(IMAGES).feature_maps[-1], expected, atol=1e-4)
        assert names["detector"](IMAGES).logits.shape == (2, 100, 21)


def test_onnx(page: Read, slim: Get, small: Backbone) -> None:
    names = page("onnx", slim).execute()

    expected = small(torch.from_numpy(names["images"]))
    assert torch.allclose(torch.from_numpy(names["features"]), expected, atol=1e-3)
    assert names["features"].shape == (1, 4, 120, 160)


def test_torch_export(page: Read, slim: Get, small: Backbone) -> None:
    names = page("torch-export", slim).execute()

    assert torch.allclose(names["features"], small(names["images"]), atol=1e-4)


# The settings that the lines change, with the types of Detectron2's own defaults (detectron2/config/defaults.py).
_DETECTRON2 = {
    "MODEL.WEIGHTS": str,
    "MODEL.PIXEL_MEAN": list,
    "MODEL.PIXEL_STD": list,
    "MODEL.BACKBONE.FREEZE_AT": int,
    "MODEL.RESNETS.DEPTH": int,
    "MODEL.RESNETS.NORM": str,
    "MODEL.RESNETS.NUM_GROUPS": int,
    "MODEL.RESNETS.WIDTH_PER_GROUP": int,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": int,
    "MODEL.RESNETS.STRIDE_IN_1X1": bool,
    "INPUT.FORMAT": str,
}


def detectron2_configuration() -> SimpleNamespace:
    root = SimpleNamespace()
    for key in _DETECTRON2:
        *path, _ = key.split(".")
        node = root
        for part in path:
            node.__dict__.setdefault(part, SimpleNamespace())
            node = node.__dict__[part]
    return root


def flat(node: SimpleNamespace, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in vars(node).items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, SimpleNamespace) else {f"{prefix}{key}": value}
    return found


@pytest.mark.parametrize("name", ["resnet50", "resnet18", "resnext101_32x8d", "wide_resnet50_2"])
def test_detectron2(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Its settings by name and type, and that they describe this network; Detectron2 cannot be installed here."""
    asked: list[str] = []
    library: Any = ModuleType("detectron2")
    library.model_zoo = SimpleNamespace(get_config=lambda path: asked.append(path) or detectron2_configuration())
    monkeypatch.setitem(sys.modules, "detectron2", library)
    with torch.device("meta"):
        backbone = Backbone(name, 8)
    names: dict[str, Any] = {}
    exec(FORMATS["detectron2"].lines(backbone, "a.pkl"), names)

    settings = flat(names["cfg"])
    assert {key: type(value) for key, value in settings.items()} == _DETECTRON2
    assert settings["INPUT.FORMAT"] == "RGB"
    assert settings["MODEL.PIXEL_MEAN"] == [123.675, 116.28, 103.53]
    assert settings["MODEL.RESNETS.STRIDE_IN_1X1"] is False
    kind = "FPN" if name == "resnet18" else "C4"
    assert asked == [f"COCO-Detection/faster_rcnn_R_50_{kind}_1x.yaml"]
    shape = {
        "resnet50": (50, 1, 64, 256),
        "resnet18": (18, 1, 64, 64),
        "resnext101_32x8d": (101, 32, 8, 256),
        "wide_resnet50_2": (50, 1, 128, 256),
    }[name]
    keys = ("DEPTH", "NUM_GROUPS", "WIDTH_PER_GROUP", "RES2_OUT_CHANNELS")
    assert tuple(settings[f"MODEL.RESNETS.{key}"] for key in keys) == shape


# As the libraries' own ResNeXt take the width of a group.
WIDTH_KEYS = {"mmdet": "base_width", "mmpretrain": "width_per_group"}


@pytest.mark.parametrize("to", WIDTH_KEYS)
@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
def test_openmmlab(slim: Get, folder: Path, monkeypatch: pytest.MonkeyPatch, to: str, name: str) -> None:
    """The lines are a configuration; its ``prefix`` and ``checkpoint`` lead to every weight."""
    monkeypatch.chdir(folder)
    done = export_backbone(slim(name), to=to, out="a.pth")
    names: dict[str, Any] = {}
    exec(done.lines, names)

    settings = names["model"]["backbone"]
    expected = {"resnet18": ("ResNet", 18, None), "resnext50_32x4d": ("ResNeXt", 50, 32)}[name]
    assert (settings["type"], settings["depth"], settings.get("groups")) == expected
    assert settings.get(WIDTH_KEYS[to]) == (4 // 4 if "resnext" in name else None)
    start = settings["init_cfg"]
    assert start["type"] == "Pretrained"
    state = torch.load(start["checkpoint"], weights_only=True)["state_dict"]
    inner = {key.removeprefix(start["prefix"]): tensor for key, tensor in state.items()}
    assert arrived(inner, slim(name))
    normalisation = names["model"].get("data_preprocessor", names.get("data_preprocessor"))
    assert normalisation["mean"] == [123.675, 116.28, 103.53]
    assert normalisation["bgr_to_rgb" if to == "mmdet" else "to_rgb"] is True
    if to == "mmdet":
        assert names["model"]["neck"]["in_channels"][-1] == slim(name).out_channels


@pytest.mark.parametrize("to", WIDTH_KEYS)
def test_openmmlab_at_full_width(to: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone("resnext50_32x4d")
    names: dict[str, Any] = {}
    exec(FORMATS[to].lines(backbone, "a.pth"), names)

    assert names["model"]["backbone"][WIDTH_KEYS[to]] == 4
    if to == "mmdet":
        assert names["model"]["neck"]["in_channels"] == [256, 512, 1024, 2048]


class DetectionModel(nn.Module):
    """As far as the lines see it, Ultralytics' model: its first layer holds torchvision's as ``TorchVision`` does."""

    def __init__(self, name: str) -> None:
        super().__init__()
        first = nn.Module()
        first.m = nn.Sequential(*list(get_model(name, weights=None).children())[:-2])
        self.model = nn.Sequential(first)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps, layer.momentum = 1e-3, 0.03

    def load(self, weights: nn.Module) -> None:
        self.load_state_dict(weights.state_dict())


def test_ultralytics(page: Read, slim: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics may not be installed; a stand-in of its trainer shows that the lines bring the network in whole."""
    asked: list[str] = []
    library, detect = (ModuleType("ultralytics") for _ in range(2))
    trainer = type("DetectionTrainer", (), {"get_model": lambda self, cfg, weights, verbose: DetectionModel(cfg)})
    library.__dict__["YOLO"], detect.__dict__["DetectionTrainer"] = asked.append, trainer
    modules = ("ultralytics", "ultralytics.models", "ultralytics.models.yolo", "ultralytics.models.yolo.detect")
    for name, module in zip(modules, (library, library, library, detect), strict=True):
        monkeypatch.setitem(sys.modules, name, module)
    names = page("ultralytics", slim).execute()

    model = names["Trainer"]().get_model("resnet50", None, True)
    pixels = torch.rand(2, 3, 64, 96)
    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        found = model.eval().model[0].m(pixels)
        assert torch.allclose(found, slim("resnet50")((pixels - mean) / std), atol=1e-5)
    assert asked == ["exports/yolo-resnet50/yolo.yaml"]
    next(model.parameters()).data.fill_(0.5)
    again = names["Trainer"]().get_model("resnet50", model, True)
    assert all(torch.equal(*pair) for pair in zip(again.parameters(), model.parameters(), strict=True))


def test_ultralytics_itself(page: Read, network: Get) -> None:
    """The same with the library, where it is installed."""
    pytest.importorskip("ultralytics")
    names = page("ultralytics", network).execute()
    trainer = names["Trainer"].__new__(names["Trainer"])
    trainer.data = {"nc": 5, "channels": 3, "names": dict(enumerate("abcde"))}
    trainer.args = SimpleNamespace(model="", task="detect")

    model = trainer.get_model(cfg=names["detector"].model.yaml, weights=None, verbose=False).eval()
    pixels = torch.rand(2, 3, 64, 96)
    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        assert torch.allclose(model.model[0](pixels)[-1], network("resnet50")((pixels - mean) / std), atol=1e-5)
        assert model.stride.tolist() == [8, 16, 32]
