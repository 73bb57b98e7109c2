"""Names of files and classes that command a terminal are shown by every verb, and never obeyed."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from manyview.cli.main import main
from tests.helpers.narrow import narrowed
from tests.helpers.small_verbs import COMPUTING, DETECTOR, SCALE
from tests.helpers.tiny import METHODS, ON_CPU, photos

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


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command in this process as on a terminal; returns what it prints, which must be harmless."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: object, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["manyview", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = map(harmless, capsys.readouterr())
        assert (caught.value.code or 0) == status, out + err
        return out + err

    return run


def test_no_verb_obeys_a_name(folder: Path, weights: Path, tmp_path: Path, run: Callable[..., str]) -> None:
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


def write_boxes(folder: Path, file: Path) -> Path:
    """COCO's JSON of all images but that whose name is no text, each with a box of a class of a hostile name."""
    names = [path.name for path in sorted(folder.iterdir()) if BROKEN not in path.name]
    images, boxes = [], []
    for number, name in enumerate(names):
        with Image.open(folder / name) as image:
            width, height = image.size
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        box: dict[str, Any] = {"id": number + 1, "image_id": number, "category_id": 1 + number % len(CLASSES)}
        boxes.append(box | {"bbox": [8, 8, 32, 24], "area": 768, "iscrowd": 0})
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)]
    file.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return file


@narrowed(8)
def test_no_verb_that_trains_obeys_a_name(folder: Path, weights: Path, tmp_path: Path, run: Callable[..., str]) -> None:
    labels = ["--images", folder, "--train-labels", tmp_path / "train.csv", "--val-labels", tmp_path / "val.csv"]
    boxes = write_boxes(folder, tmp_path / "boxes.json")
    alone, out = ["--size", 32, "--beside", "none", "--workers", 0], tmp_path / f"out{CLEARS}[red]"
    out.mkdir()
    linear = run("linear", weights, *labels, "--out", out / "linear", "--resamples", 0, "--cost", 0.01, *alone)
    probe = run("probe", weights, *labels, "--out", out / "probe", "--fraction", 1, "--label-problems", "skip", *alone)
    for said in (linear, probe):
        assert "cat\\x1b]0;title\\x07\\x1b[2J" in said
        assert "[red]$x_{[/red] :car:" in said
    drawn = ["--images", folder, "--train-labels", boxes, "--val-labels", boxes, "--draw", 2]
    run("detect", weights, *drawn, "--out", out / "boxes", *DETECTOR)
    predicted = ["--images", folder, "--out", out / "found.json", "--draw", 2, *COMPUTING]
    assert "\\x1b" in run("detect", "--predict", out / "boxes", *predicted)
    assert "\\x1b" in run("export", weights, "--to", "timm", "--out", out / "timm.pth")
    (tmp_path / "tiny.toml").write_text(SCALE)
    table = {"title": f"t{CLEARS}", "source": MARKUP, "evaluations": {f"e{TURNS}": {"metrics": ["mAP"]}}}
    row = f'[[rows]]\nname = {json.dumps(MARKUP + CLEARS)}\nrecipe = "paper"\n'
    (tmp_path / "mine.toml").write_text(_toml(table) + row)
    scaled = ["--scale", tmp_path / "tiny.toml", "--out", out / "tables", *COMPUTING]
    assert "[red]$x_{[/red] :car:\\x1b]0" in run("reproduce", tmp_path / "mine.toml", *labels, *scaled)

    (folder / f"{CLEARS}bad.jpg").write_text("no image")
    settings = {**ON_CPU, **{f"method.{key}": value for key, value in METHODS["simsiam"].items()}}
    words = ["--backbone", "timm/test_resnet", "--steps", 2, "--batch-size", 4, "--view-size", 16]
    words += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    said = run("pretrain", folder, "--out", out / "run", *words, "--set", "data.max_bad_fraction=0.5")
    assert "\\x1b" in said
    (folder / f"{CLEARS}.jpg").unlink()
    run("pretrain", "--out", out / "run", "--resume", "--steps", 4, status=2)


def _toml(table: dict[str, Any]) -> str:
    """A table's head as TOML, whose strings are those of JSON."""
    ((name, evaluation),) = table["evaluations"].items()
    head = f"title = {json.dumps(table['title'])}\nsource = {json.dumps(table['source'])}\n"
    return f"{head}[evaluations.{json.dumps(name)}]\nmetrics = {json.dumps(evaluation['metrics'])}\n"
