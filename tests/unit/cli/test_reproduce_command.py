"""``manyview reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import manyview.recipes.reproduce
from manyview.options.base import declared
from manyview.options.reproduce import Matching, TableName
from manyview.recipes.reproduce.files import shipped
from tests.helpers.commands import Command, complaint
from tests.helpers.small_verbs import COMPUTING, SCALE

VERB = "reproduce"  # what the fixture ``command`` runs
TABLE = """
title = "One row"
[evaluations.gamp]
metrics = ["mAP"]
[[rows]]
name = "blocks"
recipe = "paper"
paper = {mAP = 54.3}
"""


@pytest.fixture
def words(photos: Path, tmp_path: Path) -> list[object]:
    """Options of a table of one row."""
    (tmp_path / "mine.toml").write_text(TABLE)
    (tmp_path / "tiny.toml").write_text(SCALE)
    rows = [f"{index:02d}.jpg,{('cat', 'dog', '')[index % 3]}\n" for index in range(16)]
    for name, part in (("train", rows[:12]), ("val", rows[12:])):
        (tmp_path / f"{name}.csv").write_text("image,labels\n" + "".join(part))
    labels = ["--train-labels", tmp_path / "train.csv", "--val-labels", tmp_path / "val.csv"]
    where = ["--images", photos, *labels, "--out", tmp_path / "out", *COMPUTING]
    return [tmp_path / "mine.toml", *where, "--scale", tmp_path / "tiny.toml"]


def test_a_plan_then_a_table(command: Command, words: list[object], tmp_path: Path) -> None:
    status, out, _ = command(*words, "--dry-run")
    assert status == 0
    assert "Nothing was trained." in out
    assert "2 todo" in out
    assert not (tmp_path / "out" / "runs").exists()

    status, out, err = command(*words)
    assert status == 0, err
    assert "1 of 2: blocks, seed 0: pre-training" in err
    assert "(54.3)" in out
    assert f"Written: {tmp_path / 'out' / 'mine.md'}, " in out

    status, out, err = command(*words, "--dry-run")
    assert "2 done" in out
    assert "0 s left" in out


def test_options_reach_the_function(command: Command, words: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def record(table: str, **options: Any) -> None:
        seen.update(options, table=table)
        raise KeyboardInterrupt

    monkeypatch.setattr(manyview.recipes.reproduce, "reproduce", record)
    more = ["--weights", "a=x.pth", "--weights", "b=y.pth", "--data", "voc=i,t,v", "--match", "time", "--budget", "0.5"]
    command(*words, *more, "--seeds", "3", "--first-seed", "2", "--only", "blocks", "--gpus", "0,1")

    assert seen["weights"] == {"a": "x.pth", "b": "y.pth"}
    assert seen["data"] == {"voc": ["i", "t", "v"]}
    named = [seen[name] for name in ("match", "budget", "seeds", "first_seed", "only", "gpus", "workers", "quiet")]
    assert named == ["time", 0.5, 3, 2, ("blocks",), "0,1", 0, False]


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--scale", "smal"], "unknown scale 'smal'; did you mean small?"),
        (["--only", "block"], "the table has no row 'block'; did you mean blocks?"),
        (["--match", "veiws"], "is not one of 'views', 'images', 'steps', 'time', 'own'"),
        (["--weights", "x.pth"], "--weights x.pth: give a name and what it stands for, as in --weights NAME=FILE"),
        (["--weights", "a=x", "--weights", "a=y"], "--weights a is given twice"),
        (["--set", "training.epoch=3"], "did you mean training.epochs?"),
        (["--images", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line(command: Command, words: list[object], more: list[object], part: str) -> None:
    assert part in complaint(command(*words, *more))


def test_a_table_that_does_not_exist(command: Command, words: list[object]) -> None:
    assert "unknown table 'tabel4'; did you mean table4?" in complaint(command("tabel4", *words[1:]))


def test_figure_1_is_drawn(command: Command, words: list[object], tmp_path: Path) -> None:
    used = words[1:-2]
    status, out, _ = command("figure1", *used, "--dry-run")
    assert (status, (tmp_path / "out").exists()) == (0, False)
    assert "nothing is trained" in out

    status, out, _ = command("figure1", *used)
    assert status == 0
    assert "Common objects are counted with COCO's boxes: --train-labels instances.json" in out
    assert (tmp_path / "out" / "figure1.png").is_file()
    for more in (["--seeds", "2"], ["--weights", "a=x.pth"], ["--data", "voc=i,t,v"]):
        assert f"{more[0]} has no effect on figure1" in complaint(command("figure1", *used, *more))


def test_the_help_names_what_is_shipped() -> None:
    tables, scales = declared(TableName)["table"].option.help, declared(Matching)["scale"].option.help
    assert [name for name in shipped("tables") if name not in tables and not name.startswith("table")] == []
    assert [name for name in shipped("scales") if name not in scales] == []
