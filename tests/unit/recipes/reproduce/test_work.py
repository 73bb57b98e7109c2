"""Doing the jobs of a table: what is called after them, and processes that a signal ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from manyview.recipes.reproduce import work
from manyview.recipes.reproduce.jobs import METRICS_FILE, Job

QUIET = Console(quiet=True)
# Takes the place of Python: says which group it is in, and which signal ends it.
PROCESS = f"""#!{sys.executable}
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[-1]).parent
def end(number, frame):
    (folder / f"{{os.getpid()}}.ended").write_text(str(number))
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
(folder / f"{{os.getpid()}}.new").write_text(str(os.getpgid(0)))
(folder / f"{{os.getpid()}}.new").rename(folder / f"{{os.getpid()}}.begun")
time.sleep(60)
"""


def job(folder: Path) -> Job:
    return Job("linear", folder.name, str(folder), {}, "weights")


def test_nothing_is_written_after_groups_that_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a", "b", "c"]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "a" / METRICS_FILE).touch()
    calls: list[str] = []

    def do(each: Job, **_: Any) -> None:
        calls.append(each.name)

    monkeypatch.setattr(work, "do", do)
    groups = {name: [job(tmp_path / name)] for name in names}

    assert work.work_here(groups, lambda: calls.append("written"), QUIET) == {}
    assert calls == ["b", "written", "c", "written"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_processes_once_by_sigterm(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, logs = tmp_path / "program", tmp_path / "logs"
    program.write_text(PROCESS)
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    groups = {name: [job(tmp_path / name)] for name in ("a", "b", "c")}

    def interrupt() -> None:
        while len(list(logs.glob("*.begun"))) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
        work.work_on_gpus(groups, lambda: None, QUIET, ("0", "1"), logs)

    assert [file.read_text() for file in logs.glob("*.ended")] == [str(int(signal.SIGTERM))] * 2
    # A terminal's Ctrl-C, which goes to this process's group, does not reach them.
    assert str(os.getpgid(0)) not in [file.read_text() for file in logs.glob("*.begun")]
    assert not (logs / "c.json").exists()
