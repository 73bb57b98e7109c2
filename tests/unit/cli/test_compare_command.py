"""``manyview compare``: that options reach the comparison, and mistakes are reported in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyview.cli.main import main
from manyview.evaluation.compare import compare

KNN = "multi-label classification by the nearest neighbours of a frozen backbone's features"
Call = Callable[..., tuple[int, str, str]]


def write(folder: Path, number: int) -> Path:
    """A kNN evaluation's file with figures of its own."""
    classes = ["cat", "dog"]
    figures = dict.fromkeys(("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1"), 0.1 * number)
    protocol: dict[str, Any] = {
        "evaluation": KNN,
        "weights": "x",
        "weights_sha256": f"{folder.name}",
        "classes": classes,
    }
    protocol["val"] = {"count": 9, "positives": [4, 5]}
    content = {"protocol": protocol, "results": {"pretrained": {**figures, "AP": [0.1 * number, 0.5]}}}
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / name, number) for number, name in enumerate(("a-s0", "a-s1", "b-s0", "b-s1"), start=1)]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the verb in this process: exit status, standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "140")

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["manyview", "compare", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return run


def results(result: dict[str, Any]) -> dict[str, Any]:
    return {key: result[key] for key in ("protocol", "groups", "warnings", "results")}


def test_every_option_is_passed_on(call: Call, folders: list[Path], tmp_path: Path) -> None:
    lists = [f"--group=first={folders[0]},{folders[1]}", f"--group=second={tmp_path}/b-*"]
    status, out, err = call(*lists, "--baseline", "second", "--classes", 1, "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    expected = compare(groups={"first": folders[:2], "second": folders[2:]}, baseline="second")
    assert results(json.loads((tmp_path / "out" / "metrics.json").read_text())) == results(expected)
    assert "Difference to second" in out
    assert "-20.0" in out
    assert "the 1 of 2 classes that differ most" in out
    assert "cat" in out
    assert "dog" not in out
    assert "comparison.png" in out


def test_evaluations_without_groups(call: Call, folders: list[Path]) -> None:
    status, out, err = call(folders[0], folders[2], "--classes", "all")
    assert (status, err) == (0, "")
    assert "a-s0" in out
    assert "dog" in out
    assert "Written" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", "some"], "--classes is some: give a number from 1, or all"),
        (["--group", "x"], "--group x: give a name and its evaluations, as in --group a=runs/a-seed0,runs/a-seed1"),
        (["--group", "x=nix*"], "--group x=nix*: nothing is called nix*"),
        (
            ["--group", "x=1", "--group", "x=2"],
            "--group x is given twice: name all its evaluations in one, separated by commas",
        ),
        ([], "there are fewer than two evaluations to compare: give the --out folders of at least two"),
    ],
)
def test_mistakes_are_reported_in_one_line(call: Call, words: list[str], message: str) -> None:
    assert call(*words) == (2, "", f"Error: {message}\n")


def test_a_pattern_may_be_the_name_of_a_folder(call: Call, folders: list[Path], tmp_path: Path) -> None:
    odd = write(tmp_path / "c[1]", 7)
    status, out, err = call(folders[0], f"--group=odd={odd}")
    assert (status, err) == (0, "")
    assert "70.0" in out
