"""Requests to stop: which signals, what is said at once, what a second one does, and the exit statuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from manyview.runs import signals
from manyview.runs.signals import STOPPING, StoppingError, StopRequest, stop_requested

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def raise_twice(number: signal.Signals) -> None:
    signal.raise_signal(number)
    signal.raise_signal(number)


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_one_is_recorded_and_said(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    before = {each: signal.getsignal(each) for each in STOPPING}
    with StopRequest("Stopping after this step, and saving") as stop:
        signal.raise_signal(number)
        assert stop_requested()
        assert stop.signal == number
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as raised:
            stop.act()
    if number != signal.SIGINT:
        assert raised.value.code == 128 + number
    why = "press Ctrl-C again to quit at once" if number == signal.SIGINT else f"as {number.name} asks"
    assert capfd.readouterr().err == f"\nStopping after this step, and saving; {why}.\n"
    assert {each: signal.getsignal(each) for each in STOPPING} == before
    assert signal.set_wakeup_fd(-1) == -1


def test_the_status_is_that_of_the_signal_which_another_process_got() -> None:
    with pytest.raises(SystemExit, match=str(128 + signal.SIGUSR1)), StopRequest():
        raise StoppingError(signal.SIGUSR1)


def test_a_second_interrupt_quits_and_other_signals_do_not() -> None:
    with StopRequest() as stop:
        raise_twice(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR1)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with StopRequest(), pytest.raises(KeyboardInterrupt):
        raise_twice(signal.SIGINT)


def test_what_torchrun_sends_on_is_no_second_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with StopRequest() as stop:
        raise_twice(signal.SIGINT)
        monkeypatch.setattr(signals, "_FORWARDED", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGINT


def test_with_nohup_a_closed_terminal_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.signal is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_where_all_is_saved_nothing_is_waited_for() -> None:
    with StopRequest() as stop, stop.acting_at_once(False):
        signal.raise_signal(signal.SIGTERM)
    with StopRequest() as stop:
        for _ in range(2):  # also if the signal came before
            with pytest.raises(SystemExit):
                work(stop)


def work(stop: StopRequest) -> None:
    with stop.acting_at_once():
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("goes on")


_BUSY = """
import hashlib, sys
from manyview.runs.signals import StopRequest

with StopRequest("Stopping after this step, and saving", may_exit=sys.argv[1] == "command"):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", int(sys.argv[2]))  # during which Python runs no handler
"""


def test_a_long_computation_neither_delays_the_answer_nor_survives_a_second_interrupt() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _BUSY, "command", "2000000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdout.readline()
        os.kill(process.pid, signal.SIGINT)
        assert process.stderr.readline() == "\n"
        assert process.stderr.readline().endswith("press Ctrl-C again to quit at once.\n")
        assert process.poll() is None
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
