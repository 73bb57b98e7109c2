"""The console of runs: a standard error that nobody reads, or that cannot be written, ends nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from rich.live import Live

from manyview.runs.progress import BarDisplay, run_console
from tests.helpers.tiny import train_tiny, write_images


def without_reader() -> TextIO:
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


@pytest.fixture(params=["reader", "space"])
def lost(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[TextIO]:
    """Standard error without a reader, or on a full disk."""
    if request.param == "space" and not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with without_reader() if request.param == "reader" else Path("/dev/full").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        yield stream
        stream.flush()  # as Python does at its end


def test_a_run_goes_on_in_silence(tmp_path: Path, lost: TextIO) -> None:
    write_images(tmp_path / "images")
    run = train_tiny(tmp_path / "images", tmp_path / "run", epochs=1, quiet=False)
    assert run.weights.is_file()
    print("something else", file=lost, flush=True)


def test_messages_go_to_the_stream_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    console = run_console()
    with BarDisplay(console, "", "") as display, Live(console=console, redirect_stderr=True):
        display.say("a message")
        print("another", file=sys.stderr)
    run_console(False).print("nothing")
    printed = capsys.readouterr().err
    assert "a message" in printed
    assert "another" in printed
    assert "nothing" not in printed
