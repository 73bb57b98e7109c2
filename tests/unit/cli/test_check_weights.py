"""``manyview check-weights``: what it prints and writes, and how it reports mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.commands import Command, complaint

VERB = "check-weights"  # what the fixture ``command`` runs


SMALL = ("--size", 32, "--workers", 0, "--device", "cpu")


def test_it_prints_a_table_and_a_sentence_and_writes_the_figures(
    command: Command, photos: Path, weights: Path, tmp_path: Path
) -> None:
    status, out, err = command(weights, "--images", photos, "--out", tmp_path / "out", "--sample", 12, *SMALL)

    assert (status, err) == (0, "")
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert result["protocol"]["sample"] == 12
    assert result["protocol"]["photographs"] == 12
    assert result["protocol"]["loading"]["format"] == "manyview"
    assert out.startswith("timm/test_resnet from a checkpoint in the format of manyview: ")
    assert "Label-free measures of timm/test_resnet on 12 images at 32 px" in out
    assert f"{result['results']['pretrained']['features']['rankme']:.1f}" in out
    assert "Undecided: 12 images are too few to judge by; measure at least 128." in out
    assert str(tmp_path / "out" / "metrics.json") in "".join(out.splitlines())


def test_its_options_reach_the_check(command: Command, photos: Path, weights: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("00.jpg\n03.jpg\n07.jpg\n")
    out = tmp_path / "out"
    options = ("--list", names, "--recipe", "released", "--no-random-init", "--seed", 5, "--precision", "float32")
    status, _, _ = command(weights, "--images", photos, "--out", out, *options, *SMALL)

    assert status == 0
    result = json.loads((out / "metrics.json").read_text())
    assert set(result["results"]) == {"pretrained"}
    assert result["protocol"]["list"] == str(names)
    assert result["protocol"]["seed"] == 5
    views = result["protocol"]["views"]
    assert (views["kind"], views["overlap"], views["solarize"], views["size"]) == ("blocks", 0.3, [0.5, 0.2], 32)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nowhere", "--images", "PHOTOS"], "there is no file or folder nowhere"),
        (["WEIGHTS", "--images", "nowhere"], "the folder of images nowhere does not exist"),
        (["WEIGHTS"], "--images"),
        (["WEIGHTS", "--images", "PHOTOS", "--sample", "1"], "sample must be at least 2 images, not 1"),
        (["WEIGHTS", "--images", "PHOTOS", "--recipe", "papre"], "unknown recipe 'papre'; did you mean paper?"),
        (["WEIGHTS", "--images", "PHOTOS", "--backbone", "resnet18"], "not of resnet18"),
        (["WEIGHTS", "--images", "PHOTOS", "--size", "4"], "size must be at least 8 pixels, not 4"),
    ],
)
def test_a_mistake_is_one_line(command: Command, photos: Path, weights: Path, words: list[str], part: str) -> None:
    places = {"PHOTOS": photos, "WEIGHTS": weights}
    assert part in complaint(command(*(places.get(word, word) for word in words)))
