"""A run on 12 bits in files of 16, and its weights: every command reads such files as the run did."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from rich.console import Console
from safetensors.torch import load_file, safe_open

import manyview
from manyview.backbones import Backbone, build_backbone, load_backbone, save_backbone
from manyview.backbones.beside import Baseline
from manyview.backbones.build import untrained
from manyview.backbones.layers import stages
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.evaluation import knn_evaluation, linear_evaluation
from manyview.evaluation.embed import embed, format_written, read_features
from manyview.evaluation.health.check import check_weights
from manyview.evaluation.neighbours.search import nearest_neighbours
from manyview.evaluation.quality.instrument import QualityInstrument
from manyview.evaluation.tables import format_check, format_knn
from manyview.export import export_backbone
from manyview.recipes import resolve_settings
from tests.helpers.tiny import COUNT, ON_CPU, SETTINGS, TinyNet, train_tiny

BITS = 12
DEPTH = {"data.bit_depth": BITS}
SENTENCE = "as of 12 bits: they are nearly black, with some 16 of 256 levels of gray; {}=12 makes 4,095 white."
SMALL: dict[str, Any] = {"size": 32, "workers": 0, "device": "cpu"}
FEW: dict[str, Any] = {"neighbours": 3}
RESNET = "timm/test_resnet"


def cells(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (6, 8, 3)).repeat(8, 0).repeat(8, 1)


def write(folder: Path, white: int) -> Path:
    """The same images as PNG and TIFF, and a JPEG, with values up to ``white``."""
    folder.mkdir(parents=True)
    for index in range(COUNT):
        levels = cells(index)
        values = np.round(levels / 255 * white).astype(np.uint8 if white == 255 else np.uint16)
        if index == 0:
            cv2.imwrite(str(folder / "00.jpg"), levels.astype(np.uint8))
        elif index % 2:
            cv2.imwrite(str(folder / f"{index:02d}.png"), values[..., ::-1])
        else:
            tifffile.imwrite(folder / f"{index:02d}.tif", values, photometric="rgb")
    return folder


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen images, 15 with 12 bits in 16."""
    return write(tmp_path_factory.mktemp("deep") / "images", 4095)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images with 8 bits."""
    return write(tmp_path_factory.mktemp("plain") / "images", 255)


@pytest.fixture(scope="module")
def labels(deep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = sorted(path.name for path in deep.iterdir())
    rows = [f"{name},any{'|even' * (index % 2 == 0)}" for index, name in enumerate(names)]
    file = tmp_path_factory.mktemp("labels") / "labels.csv"
    file.write_text("\n".join(["image,labels", *rows]) + "\n")
    return file


def backbone(bit_depth: int | None) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build_backbone(RESNET).eval()
    network.bit_depth = bit_depth
    return network


def saved(folder: Path, bit_depth: int | None) -> Path:
    save_backbone(backbone(bit_depth), folder / f"{bit_depth}.safetensors", {})
    return folder / f"{bit_depth}.safetensors"


def printed(table: Any) -> str:
    """A table's words, in one line."""
    target = io.StringIO()
    Console(file=target, width=400).print(table)
    return " ".join(target.getvalue().split())


def metadata(file: Path) -> dict[str, str]:
    with safe_open(str(file), framework="pt") as stored:
        return stored.metadata()


def test_a_run_of_12_bits_is_that_of_the_same_images_in_8_bits(deep: Path, plain: Path, tmp_path: Path) -> None:
    run = train_tiny(deep, tmp_path / "deep", settings=DEPTH)
    same = train_tiny(plain, tmp_path / "plain")

    trained, expected = load_file(run.weights), load_file(same.weights)
    assert all(torch.equal(trained[name], expected[name]) for name in expected)
    assert metadata(run.weights)["bit_depth"] == "12"
    assert "bit_depth" not in metadata(same.weights)
    assert json.loads((run.path / "config.json").read_text())["data"]["bit_depth"] == BITS


def test_a_dark_run_says_so_once(deep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_tiny(deep, tmp_path / "dark", epochs=1, quiet=False)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("(15 images measured), " + SENTENCE.format("data.bit_depth")) == 1

    train_tiny(deep, tmp_path / "mended", epochs=1, settings=DEPTH, quiet=False)
    assert "16-bit images" not in capsys.readouterr().err

    train_tiny(deep, tmp_path / "clipped", epochs=1, settings={"data.bit_depth": 10}, quiet=False)
    assert "15 of 15 16-bit images have values above 1,023 (up to 4,095)" in " ".join(capsys.readouterr().err.split())


def test_a_run_on_images_of_8_bits_says_nothing(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_tiny(plain, tmp_path / "run", quiet=False)
    assert "16-bit" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "said"),
    [(8, "greater than or equal to 9"), (16, "less than or equal to 15"), (12.5, "a valid integer"), ("x", "integer")],
)
def test_other_depths_are_refused(value: Any, said: str, deep: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"data\.bit_depth .*{said}"):
        train_tiny(deep, tmp_path / "run", settings={"data.bit_depth": value})


def test_a_configuration_older_than_the_setting_means_all_16_bits(deep: Path) -> None:
    config = resolve_settings(deep).model_dump(mode="json")
    del config["data"]["bit_depth"]
    assert PretrainConfig.model_validate(config).data.bit_depth is None


def test_the_depth_is_kept_when_a_run_is_resumed_and_cannot_change(deep: Path, tmp_path: Path) -> None:
    run = train_tiny(deep, tmp_path / "run", settings=DEPTH)
    train_tiny(None, run.path, resume=True)
    assert metadata(run.weights)["bit_depth"] == "12"
    with pytest.raises(UserError, match="bit_depth"):
        train_tiny(None, run.path, resume=True, settings={"data.bit_depth": 10})


def test_a_run_follows_the_depth_of_its_initial_weights(deep: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**SETTINGS, "views.kind": "whole", "views.pairs": 1}
    named: dict[str, Any] = {"steps": 1, "batch_size": 4, "view_size": 32, "quiet": True}
    first = saved(tmp_path, BITS)
    run = manyview.pretrain(deep, tmp_path / "run", init=first, set=settings, **named)
    assert json.loads((run.path / "config.json").read_text())["data"]["bit_depth"] == BITS
    assert load_backbone(run).bit_depth == BITS
    other = manyview.pretrain(deep, tmp_path / "other", init=first, bit_depth=14, set=settings, **named)
    assert load_backbone(other).bit_depth == 14


def test_bands_are_measured_at_their_depth(tmp_path: Path) -> None:
    folder = tmp_path / "bands"
    folder.mkdir()
    shares = []
    for index in range(8):
        values = np.random.default_rng(index).integers(0, 4096, (32, 32, 5)).astype(np.uint16)
        np.save(folder / f"{index}.npy", values)
        shares.append(np.floor(values / 4095 * 65535 + 0.5) / 65535)
    settings = {**DEPTH, "data.bands": 5}
    run = train_tiny(folder, tmp_path / "run", backbone=TinyNet(channels=5), settings=settings)
    views = json.loads((run.path / "config.json").read_text())["views"]
    np.testing.assert_allclose(views["mean"], np.mean(shares, axis=(0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(views["std"], np.std(shares, axis=(0, 1, 2)), rtol=1e-9)


def test_weights_keep_their_depth(tmp_path: Path) -> None:
    assert load_backbone(saved(tmp_path, 12)).bit_depth == 12
    assert load_backbone(saved(tmp_path, None)).bit_depth is None
    assert load_backbone(saved(tmp_path, 12), bit_depth=14).bit_depth == 14
    with pytest.raises(UserError, match="bit_depth must be a whole number from 9 to 15, not 16"):
        load_backbone(saved(tmp_path, 12), bit_depth=16)
    network = load_backbone(saved(tmp_path, 12))
    assert "White is 4,095 in 16-bit files" in network.loading.normalization
    assert untrained(network, 0).bit_depth == 12
    assert {stage.bit_depth for stage in stages(network).values()} == {12}


def test_baselines_read_the_images_as_the_weights_do_unless_they_say_more(tmp_path: Path) -> None:
    like = load_backbone(saved(tmp_path, 12))
    assert Baseline("other", saved(tmp_path, None), "asked for").build(like, 0).bit_depth == 12
    assert Baseline("other", saved(tmp_path, 14), "asked for").build(like, 0).bit_depth == 14


def features(weights: Path, images: Path, out: Path, **options: Any) -> np.ndarray:
    embed(weights, images=images, out=out, **SMALL, **options)
    return read_features(out).features


def test_embedded_features_are_those_of_the_same_images_in_8_bits(deep: Path, plain: Path, tmp_path: Path) -> None:
    expected = features(saved(tmp_path, None), plain, tmp_path / "plain.npz")
    of_weights = features(saved(tmp_path, BITS), deep, tmp_path / "deep.npz")
    given = features(saved(tmp_path, None), deep, tmp_path / "given.npz", bit_depth=BITS)

    np.testing.assert_array_equal(of_weights, expected)
    np.testing.assert_array_equal(given, expected)
    record = json.loads((tmp_path / "deep.json").read_text())
    assert record["protocol"]["bit_depth"] == BITS
    assert "range" not in record["protocol"]
    assert "bit_depth" not in json.loads((tmp_path / "plain.json").read_text())["protocol"]


def test_embed_names_dark_images(deep: Path, tmp_path: Path) -> None:
    record = embed(saved(tmp_path, None), images=deep, out=tmp_path / "dark.npz", **SMALL)
    assert SENTENCE.format("--bit-depth") in record["protocol"]["range"]
    told = format_written(record, tmp_path / "dark.npz")
    assert SENTENCE.format("--bit-depth") in told
    assert "Images are normalized by mean 0.485 0.456 0.406" in told


def labeled(deep: Path, labels: Path, **options: Any) -> dict[str, Any]:
    return {"images": deep, "train_labels": labels, "val_labels": labels, **SMALL, **options}


def test_evaluations_follow_the_weights_and_name_dark_images(
    deep: Path, plain: Path, labels: Path, tmp_path: Path
) -> None:
    dark = knn_evaluation(saved(tmp_path, None), **labeled(deep, labels, **FEW))
    assert SENTENCE.format("--bit-depth") in dark["protocol"]["range"]
    assert SENTENCE.format("--bit-depth") in printed(format_knn(dark))

    same, reference = (
        knn_evaluation(saved(tmp_path, depth), **labeled(images, labels, **FEW))
        for depth, images in ((BITS, deep), (None, plain))
    )
    assert "range" not in same["protocol"]
    assert same["protocol"]["bit_depth"] == BITS
    assert same["protocol"]["beside"]["random_init"]["bit_depth"] == BITS
    assert same["results"] == reference["results"]
    assert same["results"] != dark["results"]


@pytest.mark.parametrize("recipe", ["logistic", "released"])
def test_linear_follows_the_weights(recipe: str, deep: Path, plain: Path, labels: Path, tmp_path: Path) -> None:
    """Also where features are of augmented images."""
    options: dict[str, Any] = {"recipe": recipe, "beside": "none"} | ({"epochs": 1} if recipe != "logistic" else {})
    results = [
        linear_evaluation(saved(tmp_path, depth), **labeled(images, labels, **options))["results"]
        for depth, images in ((BITS, deep), (None, plain))
    ]
    assert results[0] == results[1]


def test_check_weights_follows_the_weights(deep: Path, plain: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"workers": 0, "device": "cpu", "size": 32}
    dark = check_weights(saved(tmp_path, None), images=deep, **options)
    assert SENTENCE.format("--bit-depth") in printed(format_check(dark))
    same, given, reference = (
        check_weights(saved(tmp_path, depth), images=images, bit_depth=said, **options)
        for depth, images, said in ((BITS, deep, None), (None, deep, BITS), (None, plain, None))
    )
    assert same["results"] == given["results"] == reference["results"] != dark["results"]
    assert same["protocol"]["bit_depth"] == given["protocol"]["bit_depth"] == BITS


def test_neighbors_follow_the_weights(deep: Path, plain: Path, tmp_path: Path) -> None:
    same, reference = (
        nearest_neighbours(saved(tmp_path, depth), images=images, query=["01.png"], k=3, **SMALL)
        for depth, images in ((BITS, deep), (None, plain))
    )
    assert same["results"] == reference["results"]
    assert same["protocol"]["bit_depth"] == BITS


def test_the_quality_of_a_run_is_measured_at_its_depth(deep: Path, plain: Path) -> None:
    def measured(images: Path, **data: Any) -> dict[str, float]:
        settings = {**ON_CPU, "monitor.eval_every": 1, "monitor.eval_size": 32, **data}
        return QualityInstrument.of(resolve_settings(images, set=settings)).measure(backbone(None))

    assert measured(deep, **DEPTH) == measured(plain) != measured(deep)


def test_exports_say_their_depth_and_load_back(tmp_path: Path) -> None:
    exported = export_backbone(saved(tmp_path, BITS), to="timm", out=tmp_path / "timm.safetensors")
    card = json.loads(exported.card.read_text())
    assert (card["images"]["bit_depth"], card["images"]["white"]) == (BITS, 4095)
    assert load_backbone(exported.out).bit_depth == BITS
    plain = export_backbone(saved(tmp_path, None), to="timm", out=tmp_path / "plain.safetensors", bit_depth=10)
    assert json.loads(plain.card.read_text())["images"]["bit_depth"] == 10
    usual = export_backbone(saved(tmp_path, None), to="timm", out=tmp_path / "usual.safetensors")
    assert "bit_depth" not in json.loads(usual.card.read_text())["images"]
