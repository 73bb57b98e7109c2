from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.training import large_collections, memory
from manyview.images import find_images
from manyview.images.sources import lists


def test_links_and_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_collections, "IN_FOLDER", 4)
    monkeypatch.setattr(large_collections, "LINKS", 5)
    monkeypatch.setattr(lists, "LARGE", 1)
    monkeypatch.setenv("MANYVIEW_CACHE", str(tmp_path / "cache"))
    large_collections.write_links(tmp_path / "files", 11)
    before = large_collections.by_pathlib(tmp_path / "files")
    now = large_collections.listed(tmp_path / "files")
    assert now["value"] == before["value"], "the fingerprint is what it was"
    monkeypatch.setenv("MANYVIEW_CHECK_FILES", "0")
    large_collections.write_list(tmp_path / "names", 11)
    files = find_images(tmp_path / "names")
    assert list(files) == [f"n{number // 4:06d}/photo_{number:010d}.jpg" for number in range(11)]
    assert files.fingerprint() == "0" * 64


def test_growth_is_from_the_second_epoch_on() -> None:
    samples = [(0.0, 0, 50, 0), (0.1, 0, 50, 20)]
    samples += [(float(epoch), epoch, 100 + epoch, 100) for epoch in range(1, 11) for _ in range(3)]
    figures = memory.by_epoch(samples)
    assert figures[0] == {"epoch": 1, "main": 50, "workers": 20, "together": 70, "highest": 70}
    assert memory.growth(figures) == pytest.approx(9 / 201)
    assert memory.farthest(figures) == pytest.approx(9 / 201)
