"""Weights with values that no training leaves behind are refused by whatever loads them, or remarked on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from manyview.backbones import Backbone, load_backbone
from manyview.backbones.files import read_tensors
from manyview.cli.main import main
from manyview.errors import UserError
from manyview.runs.files import write_tensors
from tests.helpers.random_weights import save_random

CONVOLUTION, VARIANCE, MEAN = "conv1.0.weight", "conv1.1.running_var", "conv1.1.running_mean"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random(tmp_path_factory.mktemp("sound") / "weights.safetensors")


def one(name: str, value: float) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name].view(-1)[-1] = value

    return change


def as_type(name: str, dtype: torch.dtype, value: float = 0) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name] = tensors[name].to(dtype)
        tensors[name].view(-1)[0] = value

    return change


WRONG = {
    "NaN": (one(CONVOLUTION, float("nan")), "1 of 90 are NaN or infinite"),
    "infinite": (one(CONVOLUTION, -float("inf")), "1 of 90 are NaN or infinite"),
    "infinite in float32": (as_type(CONVOLUTION, torch.float64, 1e300), "1 of 90 are NaN or infinite"),
    "NaN in float16": (as_type(CONVOLUTION, torch.float16, float("nan")), "1 of 90 are NaN or infinite"),
    "NaN mean": (one(MEAN, float("nan")), "1 of 90 are NaN or infinite"),
    "NaN variance": (one(VARIANCE, float("nan")), "1 of 90 are NaN or infinite"),
    "infinite variance": (one(VARIANCE, float("inf")), "1 of 90 are NaN or infinite"),
    "negative variance": (one(VARIANCE, -1e-3), "1 of 90 are negative variances"),
    "complex": (as_type(CONVOLUTION, torch.complex64), "1 of 90 are no real numbers"),
    "quantized by hand": (as_type(CONVOLUTION, torch.int8), "1 of 90 are no real numbers"),
}


def written(
    sound: Path, file: Path, change: Callable[[dict[str, Tensor]], None], about: Mapping[str, str | None]
) -> Path:
    stored = read_tensors(sound)
    tensors = {name: tensor.clone() for name, tensor in stored.tensors.items()}
    change(tensors)
    sums = dict.fromkeys(("checksum", "sha256"))  # of the sound file; the new one gets its own
    metadata = {key: value for key, value in {**stored.metadata, **about, **sums}.items() if value is not None}
    if file.suffix == ".pth":
        torch.save(tensors, file)
    else:
        write_tensors(file, tensors, metadata)
    return file


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_refused(sound: Path, name: str, suffix: str, tmp_path: Path) -> None:
    change, said = WRONG[name]
    file = written(sound, tmp_path / f"w{suffix}", change, {})
    with pytest.raises(UserError) as caught:
        load_backbone(file, "timm/test_resnet")
    assert str(file) in str(caught.value)
    assert said in str(caught.value)


def test_large_values_whose_sum_is_infinite_are_taken(sound: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[CONVOLUTION].fill_(3e38)

    backbone = load_backbone(written(sound, tmp_path / "w.safetensors", change, {}))
    assert bool((backbone.state_dict()[CONVOLUTION] == 3e38).all())


def test_what_is_strange_but_possible_is_said(sound: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[VARIANCE].zero_()
        tensors[CONVOLUTION].zero_()

    file = written(sound, tmp_path / "w.safetensors", change, {})
    loading = load_backbone(file).loading
    assert loading is not None
    assert f"Running variances are all zero in 1 normalization layer ({VARIANCE})" in str(loading)
    assert f"Weights are all zero in 1 convolution ({CONVOLUTION})" in str(loading)
    assert load_backbone(sound).loading.remarks == ()  # type: ignore[union-attr]
    one_dead = written(sound, tmp_path / "v.safetensors", one(VARIANCE, 0.0), {})
    assert load_backbone(one_dead).loading.remarks == ()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "about",
    [
        *({"std": "0,1,1"}, {"std": "nan,1,1"}, {"std": "inf,1,1"}, {"std": "-1,1,1"}, {"std": "1e-300,1,1"}),
        *({"mean": "nan,0,0"}, {"mean": "1e300,0,0"}, {"mean": "0.5"}, {"mean": "0.5,0.5,0.5,0.5"}, {"std": "1,1"}),
        *({"mean": ""}, {"mean": "9" * 400}, {"std": None}, {"mean": None}, {"mean": "1,1,1,1", "std": "1,1,1,1"}),
        *({"in_channels": "9" * 5000}, {"in_channels": "0"}, {"rgb": "maybe"}, {"bit_depth": "99"}, {"bit_depth": "x"}),
    ],
    ids=str,
)
def test_wrong_records_are_refused(sound: Path, about: dict[str, str | None], tmp_path: Path) -> None:
    file = written(sound, tmp_path / "w.safetensors", lambda tensors: None, about)
    with pytest.raises(UserError, match="recorded"):
        load_backbone(file)


def test_both_given_replace_those_of_another_number_of_channels(sound: Path, tmp_path: Path) -> None:
    file = written(sound, tmp_path / "w.safetensors", lambda tensors: None, {"mean": "1,1,1,1", "std": "1,1,1,1"})
    with pytest.raises(UserError, match="give both"):
        load_backbone(file, mean=(0.5, 0.5, 0.5))
    backbone: Backbone = load_backbone(file, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    assert backbone.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("verb", ["export", "embed", "detect"])
def test_no_verb_goes_on_with_them(
    sound: Path, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(sound, tmp_path / "w.safetensors", one(CONVOLUTION, float("nan")), {})
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "l.json").write_text(
        '{"images": [{"id": 1, "file_name": "a.png", "width": 32, "height": 32}],'
        '"categories": [{"id": 1, "name": "a"}],'
        '"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}]}'
    )
    given = {
        "export": ["export", file, "--to", "timm", "--out", tmp_path / "e.pth"],
        "embed": ["embed", file, tmp_path / "photos", "--out", tmp_path / "f.npz"],
        "detect": [
            *("detect", file, "--images", tmp_path / "photos", "--train-labels", tmp_path / "l.json"),
            *("--val-labels", tmp_path / "l.json", "--out", tmp_path / "d"),
        ],
    }[verb]
    monkeypatch.setattr(sys, "argv", ["manyview", *map(str, given)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "1 of 90 are NaN or infinite" in capsys.readouterr().err
