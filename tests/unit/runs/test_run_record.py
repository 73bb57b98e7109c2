"""The record of a run: what may decide how it is resumed, whatever happens to its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manyview.errors import UserError
from manyview.runs import CheckpointStore, RunFolder, TrainingCheckpoint
from manyview.runs.record import RECORD_SUM, RunRecord

FREE = ("data.images",)
ASKED = {"data": {"images": "/a"}, "training": {"seed": 0, "base_learning_rate": 0.05, "steps": None}}
RUN: dict[str, Any] = {
    "started": "2026-01-01",
    "asked": ASKED,
    "plan": {"steps": 8},
    "data": {"fingerprint": "12"},
    "init": {"sha256": "34"},
    "quality": {"size": 16},
    "method": {"name": "simsiam"},
    "device": "cpu",
    "precision": "float32",
    "processes": 1,
    "environment": {"threads": 2},
}
CONFIG: dict[str, Any] = {**ASKED, "training": {**ASKED["training"], "steps": 8}}
RECORD = RunRecord(RUN, CONFIG, FREE)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path)
    made.write_record(RECORD)
    store = CheckpointStore(tmp_path / "checkpoints")
    for step in (4, 8):
        store.save(TrainingCheckpoint(step, True, {RECORD_SUM: RECORD.sha256}, {}))
    return made


def edit(file: Path, key: str, value: object) -> None:
    """Change an entry by its dotted name."""
    content = inner = json.loads(file.read_text())
    *parents, last = key.split(".")
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "key", "value", "said"),
    [
        ("run.json", "asked.training.seed", 7, "asked.training.seed was 0, now 7"),
        ("run.json", "asked.training.base_learning_rate", 0.5, "base_learning_rate was 0.05, now 0.5"),
        ("run.json", "plan.steps", 9, "plan.steps was 8, now 9"),
        ("run.json", "data.fingerprint", "13", 'data.fingerprint was "12", now "13"'),
        ("run.json", "init.sha256", "", 'init.sha256 was "34", now ""'),
        ("run.json", "quality.size", 32, "quality.size was 16, now 32"),
        ("run.json", "method.name", "byol", 'method.name was "simsiam", now "byol"'),
        ("run.json", "precision", "bf16", 'precision was "float32", now "bf16"'),
        ("run.json", "processes", 2, "processes was 1, now 2"),
        ("run.json", "environment.threads", 1, "threads was 2, now 1"),
        ("config.json", "training.seed", 7, "config.training.seed was 0, now 7"),
    ],
)
def test_an_edited_member_is_named(folder: RunFolder, name: str, key: str, value: object, said: str) -> None:
    edit(folder.path / name, key, value)
    with pytest.raises(UserError, match="changed since the run was started") as caught:
        folder.read_record(FREE)
    assert str(caught.value).startswith(f"{name} in {folder.path}")
    assert said in str(caught.value)
    (folder.path / name).unlink()  # what the message advises
    assert folder.mend_record(FREE)
    assert folder.read_record(FREE) == RECORD


def test_edits_in_step_are_noticed_without_the_copy(folder: RunFolder) -> None:
    (folder.path / "checkpoints" / "record.json").unlink()
    assert folder.read_record(FREE) == RECORD
    edit(folder.path / "run.json", "asked.training.seed", 7)
    edit(folder.path / "config.json", "training.seed", 7)
    with pytest.raises(UserError, match="as the SHA-256 in its checkpoints shows"):
        folder.read_record(FREE)


def test_what_decides_nothing_may_change(folder: RunFolder) -> None:
    edit(folder.path / "run.json", "asked.data.images", "/moved")
    edit(folder.path / "run.json", "started", "2027-01-01")
    assert folder.read_record(FREE).run["asked"]["data"]["images"] == "/moved"


@pytest.mark.parametrize("name", ["run.json", "config.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "list", "deep"])
def test_unreadable_files_are_written_again(folder: RunFolder, name: str, damage: str) -> None:
    file = folder.path / name
    before = file.read_bytes()
    contents = {"cut": before[:40], "empty": b"", "list": b"[1]", "deep": b"[" * 100_000}
    file.unlink() if damage == "missing" else file.write_bytes(contents[damage])
    assert folder.holds_a_run
    [sentence] = folder.mend_record(FREE)
    assert name in sentence
    assert "written again as it was" in sentence
    assert file.read_bytes() == before


def test_a_damaged_copy_is_replaced(folder: RunFolder) -> None:
    copy = folder.path / "checkpoints" / "record.json"
    before = copy.read_bytes()
    copy.write_bytes(before.replace(b'"seed": 0', b'"seed": 1'))
    assert folder.read_record(FREE) == RECORD
    assert folder.mend_record(FREE) == []
    assert copy.read_bytes() == before


def test_every_flipped_bit_is_without_effect_or_noticed(folder: RunFolder) -> None:
    for name in ("run.json", "config.json"):
        file = folder.path / name
        before, ends = file.read_bytes(), {"same": 0, "refused": 0}
        for bit in range(0, 8 * len(before), 31):
            data = bytearray(before)
            data[bit // 8] ^= 1 << bit % 8
            file.write_bytes(data)
            try:
                record = folder.read_record(FREE)
                assert record.sha256 == RECORD.sha256
                ends["same"] += 1
            except UserError:
                ends["refused"] += 1
        file.write_bytes(before)
        assert min(ends.values()) > 10, ends


def test_runs_of_earlier_versions_resume_unless_their_files_contradict_each_other(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    old = {key: value for key, value in RUN.items() if key != "environment"}
    folder.write_json("run.json", old)
    folder.write_json("config.json", CONFIG)
    assert folder.read_record(FREE).run == old
    edit(tmp_path / "run.json", "asked.training.seed", 7)
    with pytest.raises(UserError, match=r"training.seed is 7 in run.json, but 0 in config.json; undo that"):
        folder.read_record(FREE)
