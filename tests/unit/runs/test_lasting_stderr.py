"""The console of runs: a standard error that nobody reads, or that cannot be written, ends nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def lost(where: str) -> Iterator[TextIO]:
    """Standard error without a reader, or on a full disk; set in the test, as pytest sets its own after fixtures."""
    with without_reader() if where == "reader" else Path("/dev/full").open("w") as stream:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            yield stream
        stream.flush()  # as Python does at its end


@pytest.mark.parametrize("where", ["reader", "space"])
def test_a_run_goes_on_in_silence(tmp_path: Path, where: str) -> None:
    if where == "space" and not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    write_images(tmp_path / "images")
    with lost(where) as stream:
        run = train_tiny(tmp_path / "images", tmp_path / "run", epochs=1, quiet=False)
        print("something else", file=stream, flush=True)
    assert run.weights.is_file()


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
