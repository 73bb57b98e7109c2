"""Runs on images of five bands of 16 bits, as TIFF and as NumPy arrays."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file, safe_open

import manyview
from manyview.config import IMAGENET_MEAN, IMAGENET_STD
from manyview.errors import UserError
from manyview.evaluation import linear_evaluation
from manyview.images import statistics
from manyview.runs import RunFolder
from tests.helpers.records import started_otherwise
from tests.helpers.tiny import COUNT, Interrupting, TinyNet, train_tiny

BANDS = 5
SETTINGS: dict[str, Any] = {"data.bands": BANDS}
five_bands = partial(Interrupting, channels=BANDS)
LEVELS = np.array([0.9, 0.1, 0.4, 0.02, 0.6])


def pixels(index: int) -> np.ndarray:
    """64 x 48 pixels in blocks of eight; the bands are of different brightness."""
    cells = np.random.default_rng(index).uniform(0, 1, (6, 8, BANDS)) * LEVELS
    return (cells * 65535).astype(np.uint16).repeat(8, 0).repeat(8, 1)


def write_tiffs(folder: Path) -> Path:
    folder.mkdir()
    for index in range(COUNT):
        options = {"planarconfig": "contig", "compression": "zlib" if index % 2 else None}
        tifffile.imwrite(folder / f"{index:02d}.tif", pixels(index), photometric="minisblack", **options)
    return folder


def write_arrays(folder: Path) -> Path:
    folder.mkdir()
    for index in range(COUNT):
        np.save(folder / f"{index:02d}.npy", pixels(index) if index % 2 else pixels(index).transpose(2, 0, 1))
    return folder


@pytest.fixture(scope="module")
def tiffs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiffs(tmp_path_factory.mktemp("bands") / "tiffs")


@pytest.fixture(scope="module")
def whole(tiffs: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_tiny(tiffs, tmp_path_factory.mktemp("runs") / "whole", backbone=five_bands(99), settings=SETTINGS)


def read_config(run: RunFolder) -> dict[str, Any]:
    return json.loads((run.path / "config.json").read_text())


def test_bands_are_measured_and_kept(whole: RunFolder, tiffs: Path) -> None:
    values = np.concatenate([pixels(index).reshape(-1, BANDS) for index in range(COUNT)]) / 65535
    views = read_config(whole)["views"]

    np.testing.assert_allclose(views["mean"], values.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(views["std"], values.std(axis=0), rtol=1e-9)
    asked = json.loads((whole.path / "run.json").read_text())["asked"]["views"]
    assert (asked["mean"], asked["std"]) == (None, None)
    with safe_open(str(whole.weights), framework="pt") as file:
        about = file.metadata()
    assert (about["in_channels"], about["rgb"]) == ("5", "false")
    assert [float(number) for number in about["mean"].split(",")] == views["mean"]


def test_a_stopped_run_resumes_to_the_bit_without_measuring_anew(
    whole: RunFolder, tiffs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tiffs, out, backbone=five_bands(6), settings=SETTINGS)
    # Had it been measured with other figures, the weights would follow these, as the next test shows.
    monkeypatch.setattr("manyview.training.normalization.measure_bands", lambda *_, **__: pytest.fail("measured anew"))

    train_tiny(None, out, backbone=five_bands(99), settings=SETTINGS, resume=True)

    for name in ("backbone.safetensors", "checkpoints/step-000000008.safetensors", "checkpoints/step-000000008.json"):
        assert (out / name).read_bytes() == (whole.path / name).read_bytes()
    assert read_config(RunFolder(out)) == read_config(whole)


def test_a_resumed_run_takes_the_figures_that_its_folder_holds(tiffs: Path, whole: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tiffs, out, backbone=five_bands(6), settings=SETTINGS)

    def brighter(run: dict[str, Any], config: dict[str, Any]) -> None:
        config["views"]["mean"][0] += 0.5

    started_otherwise(out, brighter)

    run = train_tiny(None, out, backbone=five_bands(99), settings=SETTINGS, resume=True)

    changed, before = load_file(run.weights), load_file(whole.weights)
    assert any(not torch.equal(changed[name], before[name]) for name in before)


def test_a_folder_that_lost_its_figures_is_not_resumed(tiffs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tiffs, out, backbone=five_bands(6), settings=SETTINGS)
    started_otherwise(out, lambda run, config: config["views"].update(std=None))

    with pytest.raises(UserError, match=r"config\.json lacks views\.std, without which"):
        train_tiny(None, out, backbone=five_bands(99), settings=SETTINGS, resume=True)


def test_arrays_and_tiffs_of_the_same_pixels_give_the_same_weights(whole: RunFolder, tmp_path: Path) -> None:
    arrays = write_arrays(tmp_path / "arrays")

    run = train_tiny(arrays, tmp_path / "run", backbone=five_bands(99), settings={**SETTINGS, "data.workers": 1})

    assert run.weights.read_bytes() == whole.weights.read_bytes()


def test_8_bits_among_16_are_no_darker(tiffs: Path, tmp_path: Path) -> None:
    """A set whose second half is stored in 8 bits is normalized as if all of it had 16."""
    mixed, deep = (Path(shutil.copytree(tiffs, tmp_path / name)) for name in ("mixed", "deep"))
    for index in range(8, COUNT):
        shallow = (pixels(index) >> 8).astype(np.uint8)
        for folder, values in ((mixed, shallow), (deep, shallow * np.uint16(257))):
            tifffile.imwrite(folder / f"{index:02d}.tif", values, photometric="minisblack", planarconfig="contig")
    plain = {**SETTINGS, "views.blur": [0, 0], "views.scale": [1, 1]}

    runs = [
        train_tiny(folder, tmp_path / f"run {folder.name}", backbone=five_bands(99), settings=plain, epochs=1)
        for folder in (mixed, deep)
    ]

    views = [read_config(run)["views"] for run in runs]
    np.testing.assert_allclose(views[0]["mean"], views[1]["mean"], rtol=1e-12)
    first, second = (load_file(run.weights) for run in runs)
    for name in first:  # alike but for views that were rounded to 8 bits
        np.testing.assert_allclose(first[name], second[name], rtol=0.05, atol=0.002)


def test_given_figures_are_not_measured(tiffs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "open_bands", lambda *_, **__: pytest.fail("measured"))
    given = {**SETTINGS, "views.mean": [0.1] * 5, "views.std": [0.5] * 5}

    run = train_tiny(tiffs, tmp_path / "run", backbone=five_bands(99), settings=given, epochs=1)

    assert read_config(run)["views"]["mean"] == [0.1] * 5


def test_a_run_can_be_repeated_from_its_own_file(whole: RunFolder, tmp_path: Path) -> None:
    run = train_tiny(None, tmp_path / "run", backbone=five_bands(99), config=whole.path / "config.json")

    assert run.weights.read_bytes() == whole.weights.read_bytes()


def test_rgb_runs_keep_imagenets_figures(photos: Path, tmp_path: Path) -> None:
    run = train_tiny(photos, tmp_path / "run", epochs=1)

    assert read_config(run)["views"]["mean"] == list(IMAGENET_MEAN)
    assert read_config(run)["views"]["std"] == list(IMAGENET_STD)


def test_colors_of_declared_bands_change(tiffs: Path, whole: RunFolder, tmp_path: Path) -> None:
    colored = {**SETTINGS, "data.rgb_bands": [2, 1, 0]}

    run = train_tiny(tiffs, tmp_path / "run", backbone=five_bands(99), settings=colored)

    assert read_config(run)["views"]["mean"] == read_config(whole)["views"]["mean"]
    assert run.weights.read_bytes() != whole.weights.read_bytes()


def test_one_line_says_what_was_measured(tiffs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_tiny(tiffs, tmp_path / "run", backbone=five_bands(99), settings=SETTINGS, epochs=1, quiet=False)

    printed = capsys.readouterr().err
    (line,) = [line for line in printed.splitlines() if line.startswith("Bands measured")]
    figures = read_config(RunFolder(tmp_path / "run"))["views"]
    mean, std = (" ".join(f"{number:.4f}" for number in figures[key]) for key in ("mean", "std"))
    assert line == f"Bands measured on 16 of 16 images (values from 0 to 1): mean {mean}, standard deviation {std}."


def test_a_wrong_number_of_bands_says_so_before_the_run(tiffs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none of 16 images can be read as 4 bands .*is data\.bands right\?"):
        train_tiny(tiffs, tmp_path / "run", backbone=TinyNet(channels=4), settings={"data.bands": 4})

    assert not (tmp_path / "run" / "config.json").exists()
    train_tiny(tiffs, tmp_path / "run", backbone=five_bands(99), settings=SETTINGS, epochs=1)


def test_a_network_of_other_channels_is_refused(tiffs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fails on images of shape \(2, 5, 16, 16\)"):
        train_tiny(tiffs, tmp_path / "run", backbone=TinyNet(), settings=SETTINGS)


@pytest.fixture(scope="module")
def named(tiffs: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("runs") / "named"
    return train_tiny(tiffs, out, backbone="timm/test_resnet", view_size=32, settings=SETTINGS, epochs=1)


def test_the_weights_come_back_as_a_network_of_as_many_channels(named: RunFolder) -> None:
    backbone = manyview.load_backbone(named)

    views = read_config(named)["views"]
    assert (backbone.in_channels, backbone.rgb) == (5, False)
    assert (backbone.mean, backbone.std) == (tuple(views["mean"]), tuple(views["std"]))
    assert backbone(torch.zeros(2, 5, 64, 64)).shape[:2] == (2, backbone.out_channels)


def write_labels(file: Path) -> Path:
    """Each image by whether its first band is brighter than in half of the others."""
    levels = [pixels(index)[..., 0].mean() for index in range(COUNT)]
    rows = [
        f"{index:02d}.tif,{'bright' if level > np.median(levels) else 'dark'}" for index, level in enumerate(levels)
    ]
    file.write_text("\n".join(["image,labels", *rows]) + "\n")
    return file


@pytest.mark.parametrize(("cached", "epochs", "least"), [(True, 200, 0.95), (False, 2, 0.3)])
def test_linear_evaluation_reads_the_bands(
    named: RunFolder, tiffs: Path, tmp_path: Path, cached: bool, epochs: int, least: float
) -> None:
    labels = write_labels(tmp_path / "labels.csv")

    result = linear_evaluation(
        named,
        images=tiffs,
        train_labels=labels,
        val_labels=labels,
        size=32,
        recipe="paper",
        epochs=epochs,
        batch_size=8,
        cached=cached,
        beside="random",
        workers=0,
        device="cpu",
    )

    assert result["protocol"]["bands"] == 5
    assert result["protocol"]["normalisation"]["mean"] == read_config(named)["views"]["mean"]
    assert result["results"]["pretrained"]["mAP"] > least
    assert result["results"]["random_init"]["mAP"] > 0.3


def test_linear_evaluation_names_a_file_of_other_bands(named: RunFolder, tiffs: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiffs, tmp_path / "images"))
    np.save(folder / "other.npy", np.zeros((20, 20, 3), np.uint16))
    (tmp_path / "labels.csv").write_text("image,labels\n00.tif,a\nother.npy,b\n")

    with pytest.raises(
        UserError, match=r"cannot read .*other\.npy \(shape 20 x 20 x 3, which has no axis of 5 bands\)"
    ):
        linear_evaluation(
            named,
            images=folder,
            train_labels=tmp_path / "labels.csv",
            val_labels=tmp_path / "labels.csv",
            size=32,
            workers=0,
            device="cpu",
        )
