"""Starting processes: variables, signals, exit statuses, and what is heard of them."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from manyview.distributed import launcher
from manyview.distributed.launcher import REPORT, run_processes
from manyview.errors import NonFiniteLossError, UserError
from manyview.training.monitor import CollapsedError, Reading

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def run(script: str, folder: Path, processes: int = 2, given: bytes = b"") -> None:
    file = folder / "script.py"
    file.write_text("import os, sys, time, signal\nrank = int(os.environ['RANK'])\n" + script)
    run_processes([sys.executable, str(file)], processes, given)


def test_each_process_has_its_variables_and_what_is_given(tmp_path: Path) -> None:
    run(
        "names = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'GROUP_RANK', 'MASTER_ADDR')\n"
        "text = ' '.join([*(os.environ[name] for name in names), sys.stdin.read()])\n"
        f"open(f'{tmp_path}/{{rank}}.txt', 'w').write(text)",
        tmp_path,
        processes=3,
        given=b"arguments",
    )
    for rank in range(3):
        assert (tmp_path / f"{rank}.txt").read_text() == f"{rank} {rank} 3 3 0 127.0.0.1 arguments"


def test_only_the_first_is_heard(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run("print(f'output of {rank}', flush=True); print(f'error of {rank}', file=sys.stderr)", tmp_path)
    assert capfd.readouterr() == ("output of 0\n", "error of 0\n")


def test_what_a_process_reports_is_raised_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_GRACE", 0.3)  # the other one hangs
    report = tmp_path / "report"
    report.write_bytes(pickle.dumps(NonFiniteLossError("the loss is nan")))
    script = (
        "if rank == 1:\n"
        f"    open(os.environ['{REPORT}'], 'wb').write(open('{report}', 'rb').read()); sys.exit(2)\n"
        "time.sleep(60)"
    )
    with pytest.raises(NonFiniteLossError, match=r"^the loss is nan$"):
        run(script, tmp_path)


def test_every_exception_can_be_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPORT, str(tmp_path / "report"))
    for error in (UserError("wrong"), CollapsedError("collapsed", Reading(0.1, 1.0, True)), OSError(28, "no space")):
        launcher.report(error)
        found = pickle.loads((tmp_path / "report").read_bytes())
        assert str(found) == str(error)
        assert isinstance(found, OSError if isinstance(error, OSError) else UserError)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("if rank == 1: os.kill(os.getpid(), signal.SIGKILL)", "process 2 of 2 was killed by SIGKILL, and the others"),
        ("if rank == 1: raise RuntimeError('a bug')", "process 2 of 2 ended by the error above, and the others"),
    ],
)
def test_a_lost_process_ends_all(
    script: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launcher, "_GRACE", 0.3)
    monkeypatch.setattr(launcher, "_LAST", 0.3)
    with pytest.raises(UserError, match=message):
        run(f"if rank == 0: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{script}\ntime.sleep(60)", tmp_path)
    assert ("a bug" in capfd.readouterr().err) == ("a bug" in script)


@pytest.mark.parametrize(
    ("number", "status", "raised", "code"),
    [
        (signal.SIGINT, 130, KeyboardInterrupt, None),
        (signal.SIGTERM, 143, SystemExit, 143),
        (signal.SIGUSR1, 138, SystemExit, 138),
    ],
)
def test_signals_are_passed_on_once_and_the_status_comes_back(
    number: signal.Signals, status: int, raised: type[BaseException], code: int | None, tmp_path: Path
) -> None:
    script = (
        f"seen = []\nsignal.signal({int(number)}, lambda *_: seen.append(1))\n"
        f"open(f'{tmp_path}/{{rank}}.ready', 'w').close()\n"
        "while not seen: time.sleep(.01)\n"
        "time.sleep(.2)\n"
        f"open(f'{tmp_path}/{{rank}}.count', 'w').write(str(len(seen)))\nsys.exit({status})"
    )

    def send() -> None:
        while not all((tmp_path / f"{rank}.ready").exists() for rank in range(2)):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(raised) as caught:
        run(script, tmp_path)
    thread.join()
    assert getattr(caught.value, "code", None) == code
    assert signal.getsignal(number) is before
    assert [(tmp_path / f"{rank}.count").read_text() for rank in range(2)] == ["1", "1"]


def test_a_signal_while_they_are_started_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "seen = []\nsignal.signal(signal.SIGUSR1, lambda *_: seen.append(1))\n"
        f"open(f'{tmp_path}/{{rank}}.ready', 'w').close()\n"
        "while not seen: time.sleep(.01)\n"
        "sys.exit(138)"
    )
    start, missed = launcher._start, list[int]()

    def started(command: Any, rank: int, *others: Any) -> Any:
        process = start(command, rank, *others)
        if rank == 1:
            while not (tmp_path / "0.ready").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGUSR1)
            process.kill()  # which was not in the list yet
        return process

    monkeypatch.setattr(launcher, "_start", started)
    before = signal.signal(signal.SIGUSR1, lambda number, _: missed.append(number))
    try:
        with pytest.raises((SystemExit, UserError)):
            run(script, tmp_path)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not missed


def test_a_process_stops_with_the_one_that_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    parents, sent, done = iter([7, 7, 7, 1]), list[tuple[int, int]](), threading.Event()

    def kill(process: int, number: int) -> None:
        sent.append((process, number))
        done.set()

    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(launcher, "_POLL", 0.01)
    launcher.end_with_parent()
    assert done.wait(60)
    assert sent == [(os.getpid(), signal.SIGTERM)]
