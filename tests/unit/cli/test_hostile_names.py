"""Names of files and classes that command a terminal are shown by every verb, and never obeyed."""

from __future__ import annotations

import csv
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from manyview.cli.main import main
from tests.helpers.tiny import photos

__all__ = ["photos"]

CLEARS, TURNS, BROKEN = "\x1b]0;title\x07\x1b[2J", "\u202eevil", os.fsdecode(b"\xff\xfe")
MARKUP = "[red]$x_{[/red] :car:"
NAMES = [f"{CLEARS}.jpg", f"{TURNS}.jpg", "[red]$x_{ :car:.jpg", "line\nbreak.jpg", f"{BROKEN}.jpg"]
CLASSES = [f"cat{CLEARS}", f"dog{TURNS}", f"{MARKUP}", "new\nline", "plain"]
# What rich itself writes: colors and styles, and what moves its own progress bars.
_OWN = re.compile("\x1b\\[[0-9;]*m|\x1b\\[\\?25[hl]|\x1b\\[[0-9]*[AK]|\r")


def harmless(text: str) -> str:
    """Output without rich's own commands, in which nothing may command a terminal."""
    shown = _OWN.sub("", text)
    odd = {character for character in shown if not (character.isprintable() or character in "\n\t\u00a0\u2009")}
    assert not odd, f"{odd} in {shown!r}"
    return shown


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    """Photographs of hostile names, label files of hostile classes."""
    root = tmp_path / f"photos{CLEARS}[red]"
    root.mkdir()
    sources = sorted(photos.glob("*.jpg"))
    for name, source in zip(NAMES * 2, sources, strict=False):
        target = root / name if not (root / name).exists() else root / f"2{name}"
        shutil.copy(source, target)
    for part in ("train", "val"):
        with (tmp_path / f"{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "labels"])
            for number, image in enumerate(sorted(root.iterdir())):
                if part == ("train", "val")[number % 2] or BROKEN in image.name:
                    continue
                writer.writerow([image.name, "|".join(name for name in CLASSES if name != CLASSES[number % 5])])
    return root


def test_no_verb_obeys_a_name(
    folder: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: object, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["manyview", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = map(harmless, capsys.readouterr())
        assert caught.value.code == status, out + err
        return out + err

    labels = ["--images", folder, "--train-labels", tmp_path / "train.csv", "--val-labels", tmp_path / "val.csv"]
    small = ["--size", 32, "--workers", 0]
    said = {
        "knn": run("knn", weights, *labels, "--out", tmp_path / "knn", "--neighbours", 2, *small),
        "again": run("knn", weights, *labels, "--out", tmp_path / f"k{CLEARS}[b]", "--neighbours", 3, *small),
        "compare": run(
            "compare", tmp_path / "knn", tmp_path / f"k{CLEARS}[b]", "--classes", "all", "--out", tmp_path / "c"
        ),
        "embed": run("embed", weights, folder, "--out", tmp_path / "f.npz", *small),
        "neighbours": run("neighbours", weights, folder, "--out", tmp_path / "n.png", *small),
        "views": run("views", folder, "--out", tmp_path / "v.html", "--photos", 3, "--view-size", 32),
        "check": run(
            "check", folder, "--labels", tmp_path / "train.csv", "--labels", tmp_path / "val.csv", "--no-pace"
        ),
        "unknown verb": run(f"x{CLEARS}", status=2),
        "unknown option": run("knn", f"--x{CLEARS}", status=2),
        "no file": run("embed", f"w{CLEARS}[red]", folder, "--out", tmp_path / "g.npz", status=2),
        "no settings": run("pretrain", folder, "--out", tmp_path / "r", "--set", f"training.{CLEARS}=1", status=2),
    }
    (folder / f"{CLEARS}bad.jpg").write_text("no image")
    said["bad"] = run("embed", weights, folder, "--out", tmp_path / "h.npz", *small, status=2)
    assert "\\x1b" in said["no file"]
    assert "\\x1b" in said["bad"]
    assert "[red]" in said["no file"]
