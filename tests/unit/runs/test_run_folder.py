from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from manyview.errors import UserError
from manyview.runs import RunFolder


def locked_by_another(path: Path) -> bool:
    """Whether a process of its own is refused."""
    pid = os.fork()
    if pid == 0:
        import fcntl

        try:
            with (path / ".lock").open("a") as file:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_new_folder_is_made_and_locked(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "b")

    folder.create()

    assert locked_by_another(folder.path)
    folder.unlock()
    assert not locked_by_another(folder.path)
    assert not folder.holds_a_run


def test_second_lock_in_the_same_process_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    """Closing any descriptor of the file would give the system's lock away."""
    first, second = RunFolder(tmp_path), RunFolder(tmp_path / ".")
    first.lock()

    with pytest.raises(UserError, match="another process is working in"):
        second.lock()

    assert locked_by_another(tmp_path)
    second.unlock()
    assert locked_by_another(tmp_path)
    first.unlock()
    second.lock()
    second.unlock()


def test_folder_with_a_run_is_never_made_anew(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")

    with pytest.raises(UserError, match="already holds a run; continue it with --resume, or choose another folder"):
        RunFolder(tmp_path).create()

    assert not locked_by_another(tmp_path)
    assert (tmp_path / "config.json").read_text() == "{}"


def test_folder_with_anything_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")

    with pytest.raises(UserError, match="is not empty; choose a new folder"):
        RunFolder(tmp_path).create()


def test_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")

    with pytest.raises(UserError, match="a is a file; choose a new folder"):
        RunFolder(tmp_path / "a").create()
    with pytest.raises(UserError, match="cannot write "):
        RunFolder(tmp_path / "a" / "b").create()


def test_run_killed_before_it_began_can_be_started_again(tmp_path: Path) -> None:
    """Death between run.json and config.json leaves no run, and nothing that is anybody's."""
    for name in (".lock", "run.json", ".config.json.77.tmp"):
        (tmp_path / name).write_text("")
    folder = RunFolder(tmp_path)

    folder.create()
    folder.unlock()

    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "run.json"]


def test_metrics_come_back_and_later_ones_are_dropped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    records = [{"step": step, "kind": "step", "loss": step / 3} for step in (1, 2, 3)]
    assert folder.read_metrics() == []
    for record in records:
        folder.append_metrics(record)

    assert folder.read_metrics() == records
    folder.drop_metrics_after(2)
    assert folder.read_metrics() == records[:2]


def test_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append_metrics({"step": 1})
    with folder.metrics_file.open("a") as file:
        file.write('{"step": 2, "los')

    assert folder.read_metrics() == [{"step": 1}]
    folder.drop_metrics_after(5)
    folder.append_metrics({"step": 2})
    assert folder.read_metrics() == [{"step": 1}, {"step": 2}]
    lines = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_damaged_json_is_the_users_to_know(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)

    with pytest.raises(UserError, match=r"run\.json"):
        RunFolder(tmp_path).read_json("run.json")


def test_folder_can_be_given_as_a_path(tmp_path: Path) -> None:
    assert Path(RunFolder(tmp_path)) == tmp_path
