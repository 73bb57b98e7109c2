"""``manyview embed``: what it prints and writes, and how it reports mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from manyview.evaluation.embed import read_features
from tests.helpers.commands import Command, complaint

VERB = "embed"  # what the fixture ``command`` runs
SMALL = ("--size", 32, "--workers", 0, "--device", "cpu")


def test_it_writes_features_and_says_what(command: Command, photos: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.parquet"
    status, printed, err = command(weights, photos, "--out", out, *SMALL)

    assert (status, err) == (0, "")
    stored = read_features(out)
    dim = stored.features.shape[1]
    lines = printed.splitlines()
    assert lines[0] == f"16 images: {dim} features each (gamp at 32 px), float32, by timm/test_resnet"
    assert lines[1].startswith("Images are normalized by mean 0.485 0.456 0.406 and standard deviation 0.229")
    assert lines[2].startswith(f"Written to {out} (")
    assert len(lines) == 3
    assert json.loads((tmp_path / "features.json").read_text())["results"] == {"photographs": 16, "skipped": 0}


def test_its_options_reach_the_file(command: Command, photos: Path, weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "03.jpg").write_bytes(b"no image")
    (tmp_path / "names.txt").write_text("00.jpg\n03.jpg\n07.jpg\n")
    out = tmp_path / "features.npz"
    options = ("--pool", "cat", "--patches", "--dtype", "float16", "--list", tmp_path / "names.txt")
    more = ("--batch-size", 2, "--max-bad-fraction", 0.4, "--precision", "bf16")
    status, printed, _ = command(weights, folder, "--out", out, *options, *more, *SMALL)

    assert status == 0
    stored = read_features(out, patches=True)
    assert stored.images == ("00.jpg", "07.jpg")
    assert stored.patches is not None
    assert stored.patches.dtype == "float16"
    assert stored.features.shape[1] == 2 * stored.patches.shape[3]
    assert stored.record["protocol"]["precision"] == "bf16"
    assert "1 could not be read, listed in" in printed
    assert "locations of" in printed


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nowhere", "PHOTOS", "--out", "f.npz"], "there is no file or folder nowhere"),
        (["WEIGHTS", "nowhere", "--out", "f.npz"], "the folder of images nowhere does not exist"),
        (["WEIGHTS", "PHOTOS"], "--out"),
        (["WEIGHTS", "PHOTOS", "--out", "features"], "features must end in .parquet or .npz"),
        (["WEIGHTS", "PHOTOS", "--out", "WEIGHTS.npz"], "already exists: choose another name for the output"),
        (["WEIGHTS", "PHOTOS", "--out", "f.npz", "--backbone", "resnet18"], "not of resnet18"),
    ],
)
def test_a_mistake_is_one_line(
    command: Command,
    photos: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    part: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.npz").touch()
    places = {"PHOTOS": photos, "WEIGHTS": weights, "WEIGHTS.npz": "taken.npz"}
    assert part in complaint(command(*(places.get(word, word) for word in words)))
    assert [file.name for file in tmp_path.iterdir()] == ["taken.npz"]
