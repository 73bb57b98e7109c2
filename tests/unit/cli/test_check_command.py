"""``manyview check``: what it prints, writes, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.commands import Command, complaint
from tests.helpers.tiny import labels, photos

__all__ = ["labels", "photos"]
VERB = "check"
SMALL = ("--view-size", 32, "--backbone", "timm/test_resnet", "--batch-size", 4, "--epochs", 3, "--recipe", "simsiam")


def test_sound_images(command: Command, photos: Path, labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "check.json"
    status, said, _ = command(photos, "--labels", labels, *SMALL, "--out", out)
    assert status == 0
    for part in ("16 images in", "JPEG", "shorter side", "labels.csv", "even", "This machine: ", "12 steps of 8 views"):
        assert part in said
    assert said.rstrip().endswith(f"Nothing is in the way of a run.\nWritten to {out}")
    written = json.loads(out.read_text())
    assert written["results"]["verdict"] == "fine"
    assert written["results"]["expected"]["seconds_per_step"] > 0
    assert written["protocol"]["labels"] == [str(labels)]
    assert written["provenance"]["command"][0] == "manyview" or written["provenance"]["command"]
    assert complaint(command(photos, "--out", out)).endswith("choose another name for the output")
    assert complaint(command(photos, "--out", tmp_path / "check.txt")).startswith(f"{tmp_path / 'check.txt'} must end")


def test_what_stops_a_run_comes_first_and_gives_status_1(command: Command, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    file.write_text("image,labels\n00.jpg,cat\n01.jpg,Cat\nnone.jpg,cat\n")
    status, said, _ = command(photos, "--labels", file, "--no-pace")
    assert status == 1
    assert said.index("Stops: ") < said.index("Spoils: ") < said.index("Note: ")
    assert "none.jpg, which is missing" in " ".join(said.split())
    assert "steps of" not in said


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["--labels", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--recipe", "papre"], "did you mean paper?"),
        (["--set", "views.sise=3"], "did you mean views.size?"),
        (["--sample", "1"], "--sample"),
    ],
)
def test_mistakes_are_one_line(command: Command, photos: Path, words: list[str], part: str) -> None:
    given = words if words[0] == "nowhere" else [photos, *words]
    assert part in complaint(command(*given))
