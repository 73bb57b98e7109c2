"""What each format holds, read by other means than the exporters' own."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from manyview.backbones import Backbone, load_backbone
from manyview.backbones.formats import to_transformers
from manyview.export import export_backbone

Get = Callable[[str], Backbone]
IMAGES = torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(5))
RESNETS = ("resnet18", "resnet50")


def same(found: dict[str, Tensor], backbone: Backbone, prefix: str = "") -> bool:
    """Whether these are the backbone's weights bit for bit, under its own names."""
    own = {prefix + name: tensor for name, tensor in backbone.state_dict().items()}
    return found.keys() == own.keys() and all(torch.equal(found[name], own[name]) for name in own)


def torchvision_map(name: str, weights: dict[str, Tensor], images: Tensor) -> Tensor:
    resnet = get_model(name, weights=None).eval()
    resnet.load_state_dict({**resnet.state_dict(), **weights})
    with torch.no_grad():
        return nn.Sequential(*list(resnet.children())[:-2])(images)


def of_detectron2(name: str) -> str:
    """The conversion as it is written down for this checkpoint, independent of the one in the package."""
    name = name if "layer" in name else f"stem.{name}"
    for stage in (1, 2, 3, 4):
        name = name.replace(f"layer{stage}", f"res{stage + 1}")
    for norm in (1, 2, 3):
        name = name.replace(f"bn{norm}", f"conv{norm}.norm")
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvision_in_each_kind_of_file(slim: Get, folder: Path, suffix: str) -> None:
    out = folder / f"weights{suffix}"
    done = export_backbone(slim("resnet18"), to="torchvision", out=out)

    found = load_file(out) if suffix == ".safetensors" else torch.load(out, weights_only=True)
    assert same(found, slim("resnet18"))
    assert type(found) is dict
    assert (done.check.matched, done.check.total, done.check.what) == (120, 120, "weights")
    assert done.check.difference == 0
    expected = slim("resnet18")(IMAGES)
    assert torch.equal(torchvision_map("resnet18", found, IMAGES), expected)


def test_a_torchvision_detector_takes_it_strictly(slim: Get, folder: Path) -> None:
    export_backbone(slim("resnet50"), to="torchvision", out=folder / "a.pth")
    detector = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=21)
    detector.backbone.body.load_state_dict(torch.load(folder / "a.pth", weights_only=True))

    assert same(detector.backbone.body.state_dict(), slim("resnet50"))


@pytest.mark.parametrize("name", [*RESNETS, "timm/test_resnet", "timm/test_vit"])
def test_timm(slim: Get, folder: Path, name: str) -> None:
    done = export_backbone(slim(name), to="timm", out=folder / "a.safetensors")

    model = timm.create_model(name.removeprefix("timm/"), num_classes=0, checkpoint_path=str(folder / "a.safetensors"))
    assert same(model.state_dict(), slim(name))
    assert done.check.matched == len(slim(name).state_dict())
    assert done.check.difference <= 1e-5


@pytest.mark.parametrize("name", [*RESNETS, "timm/resnet18"])
def test_detectron2(slim: Get, folder: Path, name: str) -> None:
    done = export_backbone(slim(name), to="detectron2", out=folder / "a.pkl")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = pickle.loads((folder / "a.pkl").read_bytes())
    assert content.keys() == {"model", "__author__", "matching_heuristics"}
    assert content["matching_heuristics"] is True
    own = {of_detectron2(key): value for key, value in slim(name).state_dict().items()}
    assert content["model"].keys() == own.keys()
    assert all(torch.equal(torch.from_numpy(content["model"][key]), value) for key, value in own.items())
    assert done.check.matched == len(own)


def test_numpy_1_can_read_detectron2s(slim: Get, folder: Path) -> None:
    export_backbone(slim("resnet18"), to="detectron2", out=folder / "a.pkl")

    data = (folder / "a.pkl").read_bytes()
    assert data.count(b"numpy._core") == 0
    assert data.count(b"cnumpy.core.multiarray\n_reconstruct\n") == 1


@pytest.mark.parametrize(("to", "name"), [("mmdet", "resnet18"), ("mmpretrain", "resnet50")])
def test_openmmlab(slim: Get, folder: Path, to: str, name: str) -> None:
    done = export_backbone(slim(name), to=to, out=folder / "a.pth")

    content = torch.load(folder / "a.pth", weights_only=True)
    assert same(content["state_dict"], slim(name), prefix="backbone.")
    assert done.check.matched == len(slim(name).state_dict())
    again = load_backbone(folder / "a.pth", name)
    assert torch.equal(again(IMAGES), slim(name)(IMAGES))


@pytest.mark.parametrize("name", RESNETS)
def test_ultralytics(slim: Get, folder: Path, name: str) -> None:
    done = export_backbone(slim(name), to="ultralytics", out=folder / "a")

    layers = nn.Sequential(*list(get_model(name, weights=None).children())[:-2]).eval()
    layers.load_state_dict(torch.load(folder / "a" / "backbone.pt", weights_only=True))
    with torch.no_grad():
        assert torch.equal(layers(IMAGES), slim(name)(IMAGES))
    assert done.check.matched == len(slim(name).state_dict())
    assert sorted(file.name for file in (folder / "a").iterdir()) == ["backbone.pt", "manyview.json", "yolo.yaml"]


def test_ultralytics_yaml_takes_the_last_three_stages(slim: Get, folder: Path) -> None:
    yaml = pytest.importorskip("yaml")
    export_backbone(slim("resnet50"), to="ultralytics", out=folder / "a")

    model = yaml.safe_load((folder / "a" / "yolo.yaml").read_text())
    _, _, module, (width, name, weights, unwrap, truncate, split) = model["backbone"][0]
    assert (module, width, name, weights, unwrap, split) == ("TorchVision", 2048 // 4, "resnet50", None, True, True)
    # The module's list is the input and then each layer's output.
    outputs = [IMAGES]
    with torch.no_grad():
        for layer in list(get_model(name, weights=None).eval().children())[:-truncate]:
            outputs.append(layer(outputs[-1]))
    taken = [arguments for _, _, kind, arguments in model["backbone"] if kind == "Index"]
    assert [outputs[index].shape[1] for _, index in taken] == [channels for channels, _ in taken] == [128, 256, 512]
    assert [64 // outputs[index].shape[2] for _, index in taken] == [8, 16, 32]


@pytest.mark.parametrize("name", RESNETS)
def test_transformers(slim: Get, folder: Path, name: str) -> None:
    from transformers import AutoImageProcessor, ResNetConfig, ResNetModel

    done = export_backbone(slim(name), to="huggingface", out=folder / "a")

    assert "transformers" in done.check.reader
    model = ResNetModel.from_pretrained(str(folder / "a")).eval()
    own = slim(name).state_dict()
    held = model.state_dict()
    assert len(held) == len(own) == done.check.matched
    assert all(torch.equal(held[to_transformers(key)], value) for key, value in own.items())
    with torch.no_grad():
        found = model(IMAGES)
        expected = slim(name)(IMAGES)
    assert (found.last_hidden_state - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert ResNetConfig.from_pretrained(str(folder / "a")).downsample_in_bottleneck is False
    processor = AutoImageProcessor.from_pretrained(str(folder / "a"))
    pixels = processor(torch.full((3, 224, 224), 255, dtype=torch.uint8), return_tensors="pt")["pixel_values"]
    assert pixels[0, :, 0, 0].tolist() == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])


def test_transformers_stride_is_where_torchvisions_is(slim: Get, folder: Path) -> None:
    """With the stride in the first convolution of a bottleneck the same weights would give other maps."""
    from transformers import ResNetModel

    export_backbone(slim("resnet50"), to="huggingface", out=folder / "a")
    config = folder / "a" / "config.json"
    config.write_text(
        config.read_text().replace('"downsample_in_bottleneck": false', '"downsample_in_bottleneck": true')
    )
    model = ResNetModel.from_pretrained(str(folder / "a")).eval()

    with torch.no_grad():
        assert not torch.allclose(model(IMAGES).last_hidden_state, slim("resnet50")(IMAGES), atol=1e-3)


def test_transformers_is_not_needed(slim: Get, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    done = export_backbone(slim("resnet18"), to="huggingface", out=folder / "a")

    assert (done.check.matched, done.check.total) == (120, 120)
    assert done.check.reader.endswith("against the layout of transformers, which is not installed")


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_resnet+4", "resnext50_32x4d"])
def test_timms_hub_loader(slim: Get, folder: Path, name: str) -> None:
    backbone = slim(name)
    done = export_backbone(backbone, to="huggingface", out=folder / "a")

    model = timm.create_model(f"local-dir:{folder / 'a'}", pretrained=True).eval()
    assert same(model.state_dict(), backbone)
    assert model.pretrained_cfg["mean"] == list(backbone.mean)
    assert model.pretrained_cfg["std"] == list(backbone.std)
    assert model.pretrained_cfg["input_size"][0] == backbone.in_channels
    assert "timm" in done.check.reader


@pytest.mark.parametrize(
    ("to", "out", "key"),
    [
        ("detectron2", "a.pkl", "stem.conv1.weight"),
        ("mmdet", "a.pth", "backbone.conv1.weight"),
        ("timm", "a.pth", "conv1.weight"),
    ],
)
def test_bands(slim: Get, folder: Path, to: str, out: str, key: str) -> None:
    backbone = slim("resnet18+4")
    done = export_backbone(backbone, to=to, out=folder / out)

    content: Any = pickle.loads((folder / out).read_bytes()) if to == "detectron2" else torch.load(folder / out)
    tensors = content.get("model", content.get("state_dict", content))
    assert torch.equal(torch.as_tensor(tensors[key]), backbone.state_dict()["conv1.weight"])
    assert tensors[key].shape == (16, 4, 7, 7)
    images = json.loads(done.card.read_text())["images"]
    assert (images["channels"], images["mean"]) == ("bands", [0.1, 0.2, 0.3, 0.4])
    assert "mean_255" not in images


def test_bands_in_transformers(slim: Get, folder: Path) -> None:
    done = export_backbone(slim("resnet18+4"), to="huggingface", out=folder / "a")

    assert json.loads((folder / "a" / "config.json").read_text())["num_channels"] == 4
    assert not (folder / "a" / "preprocessor_config.json").exists()
    assert "AutoImageProcessor" not in done.lines
