"""What a finished run says to do next: lines that a shell takes, for the command as it is."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from manyview.cli.parts.app import app
from manyview.config import PretrainConfig
from manyview.recipes import resolve_settings
from manyview.recipes.next_steps import next_steps
from tests.helpers.tiny import train_tiny, write_images

COMMANDS: Any = get_command(app)


@pytest.fixture(autouse=True)
def _found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is on the path, whether the environment of the tests is active or not."""
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")


def words_by_verb(text: str) -> dict[str, list[str]]:
    """The words after each verb, of the lines that begin with the command; their options must exist."""
    found = {}
    for line in text.splitlines():
        if line.startswith("  "):
            program, verb, *words = shlex.split(line)
            assert Path(program).name == "manyview"
            found[verb] = words
            if verb in COMMANDS.commands:
                COMMANDS.commands[verb].make_context(verb, list(words))
    return found


def config_of(backbone: str, *settings: str, images: str = "photos") -> PretrainConfig:
    return resolve_settings(images, backbone=backbone, set=settings)


def test_a_run_ends_with_lines_to_paste_and_says_how_long_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    images = write_images(tmp_path / "it's photos")
    train_tiny(images, Path("run 1"), backbone="timm/test_resnet", quiet=False, epochs=1)

    printed = capsys.readouterr().err
    assert re.search(r"^Done: 4 steps in \d+ s\. The weights are in ", printed, re.MULTILINE)
    title, _, lines = printed.partition("What to do next ")[2].partition("\n")
    assert title == "(in place of train.csv, val.csv, train.json, val.json name labels of yours):"
    found = words_by_verb(lines)
    beside = ["run 1", "--images", "it's photos"]
    assert found == {
        "linear": [*beside, *["--train-labels", "train.csv", "--val-labels", "val.csv", "--out"], "run 1-linear"],
        "detect": [
            *(*beside, *["--train-labels", "train.json", "--val-labels", "val.json", "--out"], "run 1-boxes"),
            *["--architecture", "fpn", "--draw", "8"],
        ],
        "export": ["run 1", *["--to", "timm", "--out"], "run 1-timm.safetensors"],
        "report": ["run 1", "--out", "run 1.html"],
    }


@pytest.mark.parametrize(
    ("backbone", "settings", "verbs"),
    [
        ("resnet18", [], ["linear", "detect", "export", "report"]),
        ("resnet18", ["data.bands=4"], ["linear", "export", "report"]),
        ("timm/vit_tiny_patch16_224", ["views.size=32"], ["linear", "detect", "export", "report"]),
        ("timm/test_vit", ["backbone.name=own:lab.Net"], ["report"]),
    ],
)
def test_what_cannot_work_is_left_out(backbone: str, settings: list[str], verbs: list[str]) -> None:
    assert list(words_by_verb(next_steps(Path("run"), config_of(backbone, *settings)))) == verbs


def test_labels_that_the_run_has_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [f"monitor.eval_labels={tmp_path}/a.json", "monitor.eval_val_labels=/b.csv", "data.image_column=file"]
    for known in (tmp_path / "a.json", tmp_path / "b.csv"):
        known.touch()
    config = config_of("resnet18", *settings, images="s3://bucket/{0..9}.tar")
    title, *_ = (text := next_steps(Path("run"), config)).splitlines()
    found = words_by_verb(text)
    images = ["run", "--images", "s3://bucket/{0..9}.tar"]
    csv = ["--train-labels", "a.json", "--val-labels", "/b.csv", "--out", "run-linear"]
    assert found["linear"] == [*images, *csv[:4], "--image-column=file", *csv[4:]]
    assert found["detect"] == [*images, *csv[:2], *["--val-labels", "val.json", "--out", "run-boxes", "--draw", "8"]]
    assert title == "What to do next (in place of val.json name labels of yours):"


@pytest.mark.parametrize(
    ("settings", "linear", "detect"),
    [
        (
            ["monitor.eval_labels=data.yaml"],
            ["--train-labels", "data.yaml"],
            ["--train-labels", "data.yaml"],
        ),
        (
            ["monitor.eval_labels=data.yaml", "monitor.eval_val_labels=more.yml"],
            ["--train-labels", "data.yaml", "--val-labels", "more.yml"],
            ["--train-labels", "data.yaml", "--val-labels", "more.yml"],
        ),
        (
            ["monitor.eval_labels=a.csv", "data.class_columns=cat:dog"],
            ["--train-labels", "a.csv", "--val-labels", "val.csv", "--class-columns=cat:dog"],
            ["--train-labels", "train.json", "--val-labels", "val.json"],
        ),
        (
            ["monitor.eval_labels=data.yaml", "data.class_names=birds.txt"],
            ["--train-labels", "data.yaml", "--names=birds.txt"],
            ["--train-labels", "data.yaml", "--names=birds.txt"],
        ),
    ],
)
def test_labels_of_every_layout_go_on(settings: list[str], linear: list[str], detect: list[str]) -> None:
    found = words_by_verb(next_steps(Path("run"), config_of("resnet18", *settings)))
    begin = ["run", "--images", "photos"]
    assert [words[3 : words.index("--out")] for words in (found["linear"], found["detect"])] == [linear, detect]
    assert found["linear"][:3] == found["detect"][:3] == begin


def test_a_command_that_is_not_found_by_name_is_called_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    called = tmp_path / "my tools" / "manyview"
    called.parent.mkdir()
    called.touch()
    monkeypatch.setattr(sys, "argv", [str(called), "pretrain"])
    config = config_of("resnet18")
    assert f"\n  '{called}' linear run " in next_steps(Path("run"), config)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert f"\n  {shlex.quote(sys.executable)} -m manyview report run --out run.html" in next_steps(Path("run"), config)
