from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, spearmanr

from benchmarks.evaluation import imagenet, instruments
from manyview.backbones import build_backbone, load_backbone, save_backbone
from manyview.errors import UserError
from manyview.evaluation import linear_evaluation
from manyview.scenes import write_scenes

NAME = "timm/test_resnet"


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Two backbones and random initialization, on scenes of 32 pixels."""
    write_scenes(tmp_path, 60, size=(32, 32), val_share=0.5)
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            save_backbone(build_backbone(NAME), tmp_path / f"w{seed}.safetensors", {})
    weights = ["random", *(str(tmp_path / f"w{seed}.safetensors") for seed in (1, 2))]
    labels = ["--train", str(tmp_path / "train.csv"), "--val", str(tmp_path / "val.csv")]
    fast = ["--size", "32", "--epochs", "2", "--workers", "0", "--out", str(tmp_path / "out")]
    return [*weights, "--images", str(tmp_path / "images"), *labels, *fast]


def test_every_backbone_is_measured_once_by_every_instrument(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    instruments.main(words)
    content = json.loads((tmp_path / "out" / "instruments.json").read_text())
    names = ["logistic", "SGD, rate 10", "SGD, rate 1.25"]  # of the ten classes
    assert list(content["results"]) == ["random", "w1", "w2"]
    assert all(list(row) == names for row in content["results"].values())
    text = (tmp_path / "out" / "table.md").read_text()
    assert capsys.readouterr().out == text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.split("\n\n")[0].splitlines()[2:]]
    assert sorted(row[0] for row in rows) == ["random", "w1", "w2"]
    for row in rows:
        figures = content["results"][row[0]]
        assert row[1:] == [f"{100 * figures[name][key]:.1f}" for key in ("mAP", "CF1") for name in names]
    assert [float(row[1]) for row in rows] == sorted(float(row[1]) for row in rows)
    monkeypatch.setattr(instruments, "features", lambda *_: pytest.fail("extracted again"))
    instruments.main(words)
    assert (tmp_path / "out" / "table.md").read_text() == text
    with pytest.raises(SystemExit, match=r"out holds figures made with --size 32, --seed 0: choose another --out"):
        instruments.main([*words, "--size", "40", "--seed", "1"])
    assert (tmp_path / "out" / "table.md").read_text() == text


@pytest.mark.parametrize(
    ("weights", "message"),
    [(["a/run", "b/run.pth"], "some are the same: run, run"), (["random"], "is of the network of other weights")],
)
def test_weights_that_cannot_be_told_apart_or_measured(
    weights: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        instruments.main([*weights, "--images", "x", "--train", "x", "--val", "x", "--out", "x"])
    assert message in capsys.readouterr().err


def test_the_figures_are_those_of_linear_evaluation(words: list[str], tmp_path: Path) -> None:
    instruments.main(words)
    found = json.loads((tmp_path / "out" / "w1.json").read_text())
    common: dict[str, Any] = {
        **{"images": tmp_path / "images", "train_labels": tmp_path / "train.csv", "val_labels": tmp_path / "val.csv"},
        **{"size": 32, "workers": 0, "beside": "none", "resamples": 0},
    }
    head = {"cached": True, "epochs": 2}
    for name, options in (
        ("logistic", {}),
        ("SGD, rate 10", {"recipe": "paper", **head}),
        ("SGD, rate 1.25", {"recipe": "sgd", **head}),
    ):
        report = linear_evaluation(tmp_path / "w1.safetensors", **common, **options)["results"]["pretrained"]
        assert found[name]["mAP"] == pytest.approx(report["mAP"], abs=1e-9)
        assert found[name]["CF1"] == pytest.approx(report["CF1"], abs=1e-9)


def test_ranks_are_compared_between_every_two_instruments() -> None:
    maps = np.random.default_rng(0).random((6, 3))
    measured = {str(row): {name: {"mAP": m} for name, m in zip("abc", maps[row], strict=True)} for row in range(6)}
    found = instruments.correlations(measured)
    assert list(found) == ["a and b", "a and c", "b and c"]
    for pair, (one, other) in zip(found, ((0, 1), (0, 2), (1, 2)), strict=True):
        assert found[pair]["Spearman"] == pytest.approx(spearmanr(maps[:, one], maps[:, other])[0])
        assert found[pair]["Kendall"] == pytest.approx(kendalltau(maps[:, one], maps[:, other])[0])


def test_tensors_in_order_become_a_checkpoint_with_its_own_normalization(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_backbone(imagenet.NAME)
    tensors = {f"layer {index}": tensor for index, tensor in enumerate(network.state_dict().values())}
    classifier = {"fc.weight": torch.zeros(1000, 1280), "fc.bias": torch.zeros(1000)}
    torch.save({**tensors, **classifier}, tmp_path / "package.pth")
    out = tmp_path / "new" / "lite0.safetensors"
    imagenet.main([str(out), "--file", str(tmp_path / "package.pth")])
    loaded = load_backbone(out)
    assert (loaded.name, loaded.mean, loaded.std) == (imagenet.NAME, (0.5,) * 3, (0.5,) * 3)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])
    first = next(iter(tensors))
    torch.save({**tensors, **classifier, first: tensors[first][:1]}, tmp_path / "other.pth")
    with pytest.raises(SystemExit, match="have other shapes"):
        imagenet.main([str(out), "--file", str(tmp_path / "other.pth")])
    with pytest.raises(UserError, match="no file"):
        imagenet.main([str(out), "--file", str(tmp_path / "nowhere.pth")])
