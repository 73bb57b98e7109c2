"""What is shown while a folder is searched or shards are listed."""

from __future__ import annotations

import io
import itertools
import time
from pathlib import Path

import pytest

from manyview import runtime
from manyview.cli.parts.progress import phases
from manyview.images import find_images
from manyview.images.sources import counting, shard_index
from manyview.images.sources.counting import Counting
from tests.helpers.shards import write_shards
from tests.helpers.tiny import photos

__all__ = ["photos"]


class Terminal(io.StringIO):
    """Standard error as a terminal has it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command, in which a second passes with each look at the clock; nothing is kept of listings."""
    clock = itertools.count(100.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(runtime, "_is_command", True)
    monkeypatch.setenv("MANYVIEW_CACHE", "")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    shard_index.collect.cache_clear()


@pytest.mark.usefixtures("seconds")
def test_long_listings_are_counted_on_a_terminal(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = write_shards(photos, tmp_path / "shards", ".tar", shards=4)
    for where, shown in (
        (photos, ["Searching for images: 3 files and folders", "Searching for images: 16 files and folders"]),
        (shards, ["Listing the images of shards: 3 of 4", "Listing the images of shards: 4 of 4"]),
    ):
        monkeypatch.setattr("sys.stderr", terminal := Terminal())
        files = find_images(where)
        written = terminal.getvalue()
        assert [text for text in shown if f"\r{text}\x1b[K" in written] == shown
        assert written.endswith("\r\x1b[K")
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with Counting("a\x1b[2J" + "b" * 90 + "{count}") as counted:
        for _ in range(4):
            counted.add()
    assert f"\ra\\x1b[2J{'b' * 51}\x1b[K" in terminal.getvalue()  # one line of the terminal, which obeys nothing
    assert len(files) == 16
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with phases():  # bars of which none is shown yet do not wipe the line
        time.sleep(0.3)
    assert terminal.getvalue() == ""


@pytest.mark.usefixtures("seconds")
def test_a_log_has_a_line_a_minute(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def count() -> str:
        with Counting("Looking: {count}", 200) as counted:
            for _ in range(130):
                counted.add()
        return capsys.readouterr().err

    assert count() == "Looking: 60 of 200\nLooking: 120 of 200\n"
    monkeypatch.setenv("RANK", "1")
    assert count() == ""  # one of several processes counts
    monkeypatch.delenv("RANK")
    monkeypatch.setattr(runtime, "_is_command", False)
    assert count() == ""  # nor do programs that use the library print it


@pytest.mark.usefixtures("seconds")
def test_sizes_are_counted(photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    files = find_images(photos)
    monkeypatch.setattr("manyview.images.sources.stats._TRIED", 2)
    monkeypatch.setattr("manyview.images.sources.stats._AT_ONCE", 1)
    monkeypatch.setattr(counting, "_IN_LOG", 5.0)
    files.stats()
    assert capsys.readouterr().err.startswith("Looking at sizes and times of images: 5 of 16\n")
