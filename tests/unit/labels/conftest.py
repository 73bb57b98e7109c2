from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str, str], Path]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with the images a.jpg, b.jpg and c/d.png."""
    folder = tmp_path / "images"
    (folder / "c").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "c/d.png"):
        (folder / name).touch()
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a text file, given its name and content, and returns its path."""

    def write_one(name: str, content: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        return file

    return write_one
