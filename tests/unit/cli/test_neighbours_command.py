"""``manyview neighbours``: the picture and the JSON listing it, and how it reports mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from manyview.evaluation.embed import embed
from tests.helpers.commands import Command, complaint

VERB = "neighbours"  # what the fixture ``command`` runs
SMALL = ("--size", 32, "--workers", 0, "--device", "cpu")


def test_it_draws_a_picture_and_writes_what_it_shows(
    command: Command, photos: Path, weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "15.jpg").write_bytes(b"no image")
    out = tmp_path / "new" / "n.png"
    options = ("--query", "03.jpg", "--query", "01.jpg", "--blocks", "--k", 2, "--pool", "avg", "--batch-size", 8)
    status, printed, err = command(weights, folder, "--out", out, *options, *SMALL)

    assert (status, err) == (0, "")
    listing = tmp_path / "new" / "n.json"
    lines = printed.splitlines()
    assert lines[0].startswith("Images are normalized by mean 0.485 0.456 0.406 and standard deviation 0.229")
    assert lines[1] == (f"Neighbors among 15 images at 32 px; left out: 1 that could not be read, listed in {listing}")
    assert lines[2] == f"Written: {out}, {listing}"
    found = json.loads(listing.read_text())
    assert [entry["image"] for entry in found["results"]] == ["03.jpg"] * 4 + ["01.jpg"] * 4
    assert all(len(entry["neighbours"]) == 2 for entry in found["results"])
    assert found["skipped"] == {"15.jpg": "not an image of a known format"}
    protocol = found["protocol"]
    assert (protocol["pool"], protocol["size"], protocol["k"], protocol["queries"]) == ("avg", 32, 2, "named")
    with Image.open(out) as picture:
        assert picture.format == "PNG"


def test_it_takes_features_from_a_file(command: Command, photos: Path, weights: Path, tmp_path: Path) -> None:
    embed(weights, images=photos, out=tmp_path / "f.parquet", size=16, workers=0, device="cpu")
    out = tmp_path / "n.png"
    options = ("--features", tmp_path / "f.parquet", "--queries", 3, "--seed", 5)
    status, printed, err = command(weights, photos, "--out", out, *options)

    assert (status, err) == (0, "")
    assert "Neighbors among 16 images at 16 px\n" in printed
    found = json.loads((tmp_path / "n.json").read_text())
    assert (len(found["results"]), found["protocol"]["seed"], found["protocol"]["size"]) == (3, 5, 16)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nowhere", "PHOTOS", "--out", "n.png"], "there is no file or folder nowhere"),
        (["WEIGHTS", "nowhere", "--out", "n.png"], "the folder of images nowhere does not exist"),
        (["WEIGHTS", "PHOTOS", "--out", "n.jpg"], "n.jpg must end in .png"),
        (["WEIGHTS", "PHOTOS", "--out", "taken.png"], "taken.json already exists: choose another name for the output"),
        (["WEIGHTS", "PHOTOS", "--out", "n.png", "--query", "3.jpg"], "there is no image 3.jpg in"),
        (["WEIGHTS", "PHOTOS", "--out", "n.png", "--queries", "1000"], "pixels high, and at most 65,535 can be drawn"),
        (
            ["WEIGHTS", "PHOTOS", "--out", "n.png", "--k", "1000"],
            "pixels wide, and at most 65,535 can be drawn: take fewer",
        ),
        (["WEIGHTS", "PHOTOS", "--out", "n.png", "--queries", "0"], "queries must be at least 1, not 0"),
        (["WEIGHTS", "PHOTOS", "--out", "n.png", "--k", "0"], "k must be at least 1, not 0"),
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
    (tmp_path / "taken.json").touch()
    places = {"PHOTOS": photos, "WEIGHTS": weights}
    assert part in complaint(command(*(places.get(word, word) for word in words)))
    assert [file.name for file in tmp_path.iterdir()] == ["taken.json"]
