from __future__ import annotations

import os
from pathlib import Path

import pytest

from manyview.images.sources import names as module
from manyview.images.sources.names import Names, NamesBuilder
from tests.helpers.memory import extra_memory, reads_peak_memory


def test_positions_and_search(tmp_path: Path) -> None:
    written = sorted({f"{number % 97}/{number:03d}é.jpg" for number in range(500)} | {""}, key=os.fsencode)
    names = Names(written)
    assert [names.find(name) for name in written] == list(range(len(written)))
    assert [names.find(name) for name in ("0", "~", written[3] + "x")] == [-1, -1, -1]
    assert names.positions([written[7], "none", written[400]]) == {written[7]: 7, written[400]: 400}
    assert Names([]).find("a") == -1
    assert list(Names(names)) == written


def test_parts_of_the_buffer_are_cut_where_names_end(monkeypatch: pytest.MonkeyPatch) -> None:
    written = ["a", "", "bcd", "ef", "g", "", ""]
    monkeypatch.setattr(module, "_AT_ONCE", 3)
    assert list(Names(written)) == written


def test_builder_sorts_and_drops_repeated_names() -> None:
    builder = NamesBuilder()
    for name in (b"b", b"a", b"b", b"aa"):
        builder.add(name)
    assert list(builder.sorted_once()) == ["a", "aa", "b"]
    assert list(Names.of(*builder.arrays())) == ["b", "a", "b", "aa"]


@reads_peak_memory
def test_a_million_names_take_little_more_than_their_bytes() -> None:
    prepare = "from manyview.images.sources.names import Names\nfrom pathlib import Path"
    taken = extra_memory(prepare, "names = Names(f'{n:030d}' for n in range(500_000))\nsum(1 for _ in names)")
    assert taken < 500_000 * 38 * 1.6  # strings alone take 79 bytes each
