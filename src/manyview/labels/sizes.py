"""The photographs' own sizes, which labels must agree with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from manyview.images import UnreadableImage, open_photograph
from manyview.images.unreadable import readable

_BEGINNING = 1 << 16  # bytes that hold the header of nearly every photograph
_THREADS = 8  # that wait for the disk


def measure(images: Path, names: Sequence[str]) -> Iterator[tuple[int, int] | UnreadableImage]:
    """Width and height of each photograph in pixels, upright, or why it has none; in the order of the names."""
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(lambda name: _measure(images / name), names)


def _measure(path: Path) -> tuple[int, int] | UnreadableImage:
    try:
        try:
            with readable(path), path.open("rb") as file:
                photograph = open_photograph(file.read(_BEGINNING))
        except UnreadableImage:  # perhaps for no other reason than what was not read
            photograph = open_photograph(path)
    except UnreadableImage as error:
        return error
    return photograph.width, photograph.height
