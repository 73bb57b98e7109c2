"""A linear evaluation that was stopped goes on where it was, and ends with the same figures to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import manyview.evaluation.resume as unfinished_module
from manyview.errors import UserError
from manyview.evaluation import linear_evaluation
from manyview.runs import RunFolder

FAST: dict[str, Any] = {
    **{"recipe": "paper", "size": 32, "epochs": 5, "batch_size": 8, "workers": 0, "device": "cpu"},
    "resamples": 20,
}
MODES: dict[str, dict[str, Any]] = {
    "cached": {"cached": True, "flips": True, "beside": "random"},
    "augmented": {"measured": "best"},
}
HEAD = "pre-trained: training the linear head"


class Stop(Exception):  # noqa: N818
    """What stands in for Ctrl-C."""


def evaluate(scenes: Any, **options: Any) -> dict[str, Any]:
    data = {"images": scenes.images, "train_labels": scenes.train, "val_labels": scenes.val}
    return linear_evaluation(scenes.weights, **(data | {"beside": "none"} | FAST | options))


def stop_at(phase: str, done: int) -> Any:
    def progress(now: int, _total: int, of: str) -> None:
        if of == phase and now == done:
            raise Stop

    return progress


@pytest.fixture(autouse=True)
def keeps_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished_module, "_SECONDS_BETWEEN", 0.0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("phase", "done"), [("pre-trained: training features", 0), (HEAD, 0), (HEAD, 2), (HEAD, 5)])
def test_figures_are_those_of_an_evaluation_never_stopped(
    scenes: Any, tmp_path: Path, mode: str, phase: str, done: int
) -> None:
    options = MODES[mode]
    with pytest.raises(Stop):
        evaluate(scenes, **options, out=tmp_path, progress=stop_at(phase, done))
    assert [path.name for path in tmp_path.iterdir()] == ["unfinished"]
    seen: list[tuple[int, str]] = []
    resumed = evaluate(scenes, **options, out=tmp_path, resume=True, progress=lambda now, _, of: seen.append((now, of)))
    whole = evaluate(scenes, **options)
    assert resumed["results"] == whole["results"]
    assert resumed["protocol"] == whole["protocol"]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    # What was done is not done again.
    assert not any(of == "pre-trained: validation features" for _, of in seen)
    assert min(now for now, of in seen if of == HEAD) == (done if phase == HEAD else 0)


def test_an_unfinished_evaluation_is_not_begun_over(scenes: Any, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        evaluate(scenes, cached=True, out=tmp_path, progress=stop_at(HEAD, 1))
    with pytest.raises(UserError, match=r"holds an unfinished evaluation: continue it with --resume, delete .*unfin"):
        evaluate(scenes, cached=True, out=tmp_path)
    with pytest.raises(
        UserError, match=r"started with other settings: epochs was 5, now 6; .*seed was 0, now 1; resume it"
    ):
        evaluate(scenes, cached=True, out=tmp_path, resume=True, epochs=6, seed=1)
    assert evaluate(scenes, cached=True, out=tmp_path, resume=True)["results"]


def test_there_must_be_something_to_resume(scenes: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no unfinished evaluation: leave out --resume"):
        evaluate(scenes, cached=True, out=tmp_path, resume=True)
    evaluate(scenes, cached=True, epochs=1, out=tmp_path)
    with pytest.raises(UserError, match=r"already holds a metrics\.json"):
        evaluate(scenes, cached=True, epochs=1, out=tmp_path, resume=True)


def test_nothing_stays_of_an_evaluation_that_did_nothing(scenes: Any, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        evaluate(scenes, cached=True, out=tmp_path, progress=stop_at("pre-trained: validation features", 0))
    assert not list(tmp_path.iterdir())


def test_only_one_process_at_a_time(scenes: Any, tmp_path: Path) -> None:
    def meddle(now: int, _total: int, of: str) -> None:
        if (now, of) == (1, HEAD):
            with pytest.raises(UserError, match="another process is working in"):
                RunFolder(tmp_path / "unfinished").lock()

    evaluate(scenes, cached=True, out=tmp_path, progress=meddle)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-2] ^= 4
    file.write_bytes(data)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize("name", ["pretrained-validation.safetensors", "pretrained/*.safetensors", "protocol.json"])
def test_what_is_damaged_is_made_again_and_reported(
    scenes: Any, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    with pytest.raises(Stop):
        evaluate(scenes, cached=True, out=tmp_path, progress=stop_at(HEAD, 2))
    files = sorted((tmp_path / "unfinished").glob(name))
    for file in files:
        damage(file)
    (tmp_path / "unfinished" / "notes.txt").write_text("mine")
    (tmp_path / ".metrics.json.123.tmp").write_text("what a killed process was writing")
    resumed = evaluate(scenes, cached=True, out=tmp_path, resume=True)
    assert resumed["results"] == evaluate(scenes, cached=True)["results"]
    remarks = resumed["provenance"].get("remarks", [])
    assert len(remarks) == 1, remarks
    assert all(files[0].stem in remark or files[0].parent.name in remark for remark in remarks)
    assert [path.name for path in (tmp_path / "unfinished").iterdir()] == ["notes.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "unfinished"]


def test_features_of_another_evaluation_are_not_taken(scenes: Any, tmp_path: Path) -> None:
    for name, size in (("a", 32), ("b", 40)):
        with pytest.raises(Stop):
            evaluate(scenes, cached=True, size=size, out=tmp_path / name, progress=stop_at(HEAD, 0))
    kept = "unfinished/pretrained-training.safetensors"
    shutil.copy(tmp_path / "b" / kept, tmp_path / "a" / kept)
    resumed = evaluate(scenes, cached=True, out=tmp_path / "a", resume=True)
    assert resumed["results"] == evaluate(scenes, cached=True)["results"]
    [remark] = resumed["provenance"]["remarks"]
    assert remark.endswith("pretrained-training.safetensors is of another evaluation, and was made again.")


def test_what_a_killed_process_left_after_the_result_is_deleted(scenes: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(unfinished_module.Unfinished, "delete", lambda self: None)
    evaluate(scenes, cached=True, epochs=1, out=tmp_path)
    assert (tmp_path / "unfinished").is_dir()
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"already holds a metrics\.json"):
        evaluate(scenes, cached=True, epochs=1, out=tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
