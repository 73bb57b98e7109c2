"""Weights carry the mean and standard deviation of their images: recorded, of timm's own by name, or given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from manyview.backbones import build_backbone, load_backbone, save_backbone
from manyview.config import IMAGENET_MEAN, IMAGENET_STD
from manyview.errors import UserError
from manyview.export import export_backbone
from manyview.runs import sha256
from tests.helpers.narrow import narrowed

HALF = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Weights of timm/test_resnet, for reading only."""
    return build_backbone("timm/test_resnet").state_dict()


@pytest.fixture(scope="module")
def weights(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their file, to be linked to where a test reads it."""
    file = tmp_path_factory.mktemp("weights") / "w.pth"
    torch.save(state, file)
    return file


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "test_vit", "mobilevit_xxs", "test_vit.r160_in1k", "regnetx_002", "test_resnet"]
)
def test_a_model_of_timm_has_that_of_its_own_weights(name: str, tmp_path: Path) -> None:
    torch.save(build_backbone(f"timm/{name}").state_dict(), tmp_path / "w.pth")
    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    loaded = load_backbone(tmp_path / "w.pth", f"timm/{name}")
    assert (loaded.mean, loaded.std) == (tuple(settings.mean), tuple(settings.std))
    rows, columns = settings.input_size[1:]
    assert f"timm's own are of images of {rows} x {columns} pixels" in loaded.loading.normalization


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"mean": "0.5", "std": 0.5}, (HALF, HALF)),
        ({"mean": (0.1, 0.2, 0.3)}, ((0.1, 0.2, 0.3), IMAGENET_STD)),
        ({"std": "0.1,0.2,0.3"}, (IMAGENET_MEAN, (0.1, 0.2, 0.3))),
        ({"mean": 0, "std": 1}, ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))),
        ({}, (IMAGENET_MEAN, IMAGENET_STD)),
    ],
)
@narrowed(4)
def test_what_is_given_comes_first(given: dict[str, Any], expected: object, tmp_path: Path) -> None:
    save_backbone(build_backbone("resnet18"), tmp_path / "w.safetensors", {})
    loaded = load_backbone(tmp_path / "w.safetensors", **given)
    assert (loaded.mean, loaded.std) == expected
    assert loaded.loading.normalization.endswith(": as given." if given else ": as the file records.")


def test_a_folder_of_the_hub_says_it(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").hardlink_to(weights)
    settings = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": settings}))
    loaded = load_backbone(tmp_path)
    assert (loaded.name, loaded.mean, loaded.std) == ("timm/test_resnet", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert "as config.json beside the file records" in loaded.loading.normalization


def test_a_folder_of_transformers_says_it_beside_its_network(tmp_path: Path) -> None:
    own = build_backbone("resnet18").eval()
    own.take_images((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), rgb=True)
    export_backbone(own, to="huggingface", out=tmp_path / "hub")
    (tmp_path / "hub" / "manyview.json").unlink()
    loaded = load_backbone(tmp_path / "hub")
    assert (loaded.name, loaded.mean, loaded.std) == ("resnet18", own.mean, own.std)
    assert "as preprocessor_config.json beside the file records" in loaded.loading.normalization


def test_a_card_of_another_file_does_not_count(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "w.pth").hardlink_to(weights)
    card = {"sha256": {"w.pth": "0"}, "backbone": {"name": "resnet50", "in_channels": 3}, "images": {}}
    (tmp_path / "w.pth.json").write_text(json.dumps(card))
    assert load_backbone(tmp_path / "w.pth", "timm/test_resnet").name == "timm/test_resnet"


def test_a_damaged_card_is_one_sentence(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "w.pth").hardlink_to(weights)
    (tmp_path / "w.pth.json").write_text("{")
    with pytest.raises(UserError, match="which describes the weights beside it, cannot be read"):
        load_backbone(tmp_path / "w.pth", "timm/test_resnet")


def put(content: dict[str, Any], keys: str, value: Any) -> dict[str, Any]:
    """A copy with another value; "a.b" is entry b of entry a."""
    first, _, rest = keys.partition(".")
    return {**content, first: put(content[first], rest, value) if rest else value}


NO_CARD: list[tuple[str, Any]] = [
    *[("images", value) for value in (None, [], {})],
    *[("images.mean", value) for value in (None, 0.5, [0.5], ["a"] * 3, [float("nan")] * 3)],
    *[("images.std", value) for value in ([], [0, 1, 1], [-1.0] * 3, {"a": 1})],
    *[("images.bit_depth", value) for value in (0, 16, "x")],
    *[("backbone", value) for value in (None, {})],
    *[("backbone.name", value) for value in (3, ["resnet18"])],
    *[("backbone.in_channels", value) for value in (None, -1, 0, 2**70, "x", float("inf"))],
]


@pytest.fixture(scope="module")
def card(weights: Path) -> dict[str, Any]:
    """The weights' card, which is taken as it is."""
    card = {
        "sha256": {weights.name: sha256(weights)},
        "backbone": {"name": "timm/test_resnet", "in_channels": 3},
        "images": {"channels": "RGB", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    }
    described = weights.with_name("w.pth.json")
    described.write_text(json.dumps(card))
    assert load_backbone(weights).mean == (0.1, 0.2, 0.3)
    return card


@pytest.mark.parametrize(("keys", "value"), NO_CARD)
def test_a_card_with_a_wrong_value_is_one_sentence(
    keys: str, value: Any, card: dict[str, Any], weights: Path, tmp_path: Path
) -> None:
    file = tmp_path / "w.pth"
    file.hardlink_to(weights)
    (tmp_path / "w.pth.json").write_text(json.dumps(put(card, keys, value)))
    with pytest.raises(UserError, match=r"is recorded of the weights in \S+w\.pth, .* beside them, is damaged"):
        load_backbone(file)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        *[("num_channels", value) for value in (-1, 1.5, "x", [3])],
        *[("pretrained_cfg", value) for value in (True, 3)],
        *[("pretrained_cfg.mean", value) for value in ([None] * 3, ["a"] * 3)],
        *[("pretrained_cfg.std", value) for value in ([0, 0, 0], [float("inf")] * 3)],
    ],
)
def test_a_folder_of_the_hub_with_a_wrong_value_is_one_sentence(
    keys: str, value: Any, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "pytorch_model.bin").hardlink_to(weights)
    settings = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    content = {"architecture": "test_resnet", "num_channels": 3, "pretrained_cfg": settings}
    (tmp_path / "config.json").write_text(json.dumps(put(content, keys, value)))
    with pytest.raises(UserError, match="a JSON file beside them, is damaged"):
        load_backbone(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        {"mean": "0.4,0.4,0.x", "std": "1,1,1"},
        {"mean": "0,0,0", "std": ""},
        {"mean": "0,0,0", "std": "0,1,1"},
        {"in_channels": "-"},
        {"bit_depth": "1x"},
        {"bit_depth": "99"},
    ],
)
def test_a_header_with_a_wrong_value_is_one_sentence(
    header: dict[str, str], state: dict[str, Tensor], tmp_path: Path
) -> None:
    save_file(state, tmp_path / "w.safetensors", {"format": "manyview-backbone", "name": "timm/test_resnet", **header})
    with pytest.raises(UserError, match=r"is recorded of the weights in \S+w\.safetensors, there"):
        load_backbone(tmp_path / "w.safetensors")


@narrowed(4)
def test_another_programs_description_beside_the_weights_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save(build_backbone("resnet18").state_dict(), file)
    (tmp_path / "weights.pth.json").write_text(json.dumps({"sha256": "0" * 64}))
    assert load_backbone(file).mean == pytest.approx((0.485, 0.456, 0.406))
