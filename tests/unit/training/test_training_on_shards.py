from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from manyview.cli.parts.viewing import Drawing, run_views
from manyview.errors import UserError
from manyview.evaluation.embed.read import read_features
from manyview.evaluation.embed.write import embed
from manyview.evaluation.health.check import check_weights
from manyview.evaluation.knn import knn_evaluation
from manyview.images.sources import shard_index
from manyview.recipes import resolve_settings
from manyview.runs import RunFolder
from tests.helpers.shards import write_shards
from tests.helpers.tiny import Interrupting, TinyNet, skipped_reasons, train_tiny


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYVIEW_CACHE", str(tmp_path / "cache"))
    shard_index.collect.cache_clear()


@pytest.fixture(scope="module")
def loose(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_tiny(photos, tmp_path_factory.mktemp("runs") / "loose", backbone=Interrupting(999))


def same_weights(one: RunFolder, other: RunFolder) -> bool:
    theirs = load_file(other.weights)
    return all(torch.equal(tensor, theirs[name]) for name, tensor in load_file(one.weights).items())


@pytest.mark.parametrize("ending", [".tar", ".parquet"])
def test_a_run_on_shards_is_that_on_loose_files(photos: Path, loose: RunFolder, tmp_path: Path, ending: str) -> None:
    shards = write_shards(photos, tmp_path / "shards", ending, shards=3)
    settings: dict[str, Any] = {"data.workers": 2, "data.content_hashes": True}
    with pytest.raises(KeyboardInterrupt):
        train_tiny(shards, tmp_path / "run", backbone=Interrupting(5), settings=settings)
    run = train_tiny(None, tmp_path / "run", backbone=Interrupting(999), settings=settings, resume=True)
    assert same_weights(run, loose)


def test_a_run_on_an_address_is_that_on_loose_files(photos: Path, loose: RunFolder, tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    for shard in write_shards(photos, tmp_path / "shards", ".tar").iterdir():
        system.pipe(f"/training/{shard.name}", shard.read_bytes())
    try:
        where = "memory://training/{000000..000001}.tar"
        run = train_tiny(where, tmp_path / "run", backbone=Interrupting(999), settings={"data.workers": 1})  # type: ignore[arg-type]
    finally:
        system.rm("/training", recursive=True)
    assert same_weights(run, loose)
    assert json.loads((run.path / "config.json").read_text())["data"]["images"] == where


def test_a_cut_shard_is_reported_like_bad_files(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = write_shards(photos, tmp_path / "shards", ".tar", shards=4)
    with (shards / "000002.tar").open("rb+") as stream, tarfile.open(shards / "000002.tar") as archive:
        stream.truncate(archive.getmembers()[4].offset_data + 10)  # its third image
    with pytest.raises(
        UserError, match=r"about 2 of 16 images cannot be read, 12\.5%, above the limit .*000002\.tar \("
    ):
        train_tiny(shards, tmp_path / "run")
    run = train_tiny(shards, tmp_path / "run", settings={"data.max_bad_fraction": 0.2}, quiet=False, epochs=1)
    assert skipped_reasons(run.path)["000002.tar"].startswith("cut or damaged after its 2. image")
    said = " ".join(capsys.readouterr().err.split())
    assert "14 images in 4 shards (tar)." in said
    assert "1 of 4 shards cannot be read as a whole, by which some 2 images are lost: 000002.tar (cut" in said
    assert "could not be read and were replaced" not in said
    (shards / "000001.tar").write_bytes(b"")
    with pytest.raises(UserError, match="the images are not those"):
        train_tiny(None, run.path, settings={"data.max_bad_fraction": 0.2}, epochs=1, resume=True, quiet=False)
    assert "000001.tar (empty file), 000002.tar (cut" in " ".join(capsys.readouterr().err.split())


def test_evaluations_and_views_of_shards(photos: Path, labels: Path, tmp_path: Path) -> None:
    shards = write_shards(photos, tmp_path / "shards", ".tar")
    run = train_tiny(photos, tmp_path / "run", backbone="timm/test_resnet", view_size=32, epochs=1)
    found = {}
    for name, images in (("loose", photos), ("shards", shards)):
        embed(run, images=images, out=tmp_path / f"{name}.npz", size=32, workers=0, device="cpu")
        options: dict[str, Any] = {"size": 32, "workers": 0, "device": "cpu", "beside": "none"}
        result = knn_evaluation(
            run, images=images, train_labels=labels, val_labels=labels, neighbours=3, resamples=0, **options
        )
        health = check_weights(run, images=images, sample=8, random_init=False, workers=0, device="cpu")
        found[name] = (result["results"], health["results"])
        run_views(
            resolve_settings(images, view_size=32),
            Drawing(tmp_path / f"{name}.png", 2, (), 0),
            None,
            Console(quiet=True),
        )
    assert found["loose"] == found["shards"]
    assert (tmp_path / "loose.png").read_bytes() == (tmp_path / "shards.png").read_bytes()
    one, other = (read_features(tmp_path / f"{name}.npz") for name in ("loose", "shards"))
    assert list(one.images) == list(other.images)
    assert np.array_equal(one.features, other.features)


def test_a_network_is_not_needed_to_name_shards(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*none-\*\.tar: check the pattern"):
        train_tiny(tmp_path / "none-*.tar", tmp_path / "run", backbone=TinyNet())
