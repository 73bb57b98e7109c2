"""Validation images that are training images: by name, through links, and as copies of another name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from manyview.images import ImageFiles
from manyview.images.sources.copies import find_shared, flattering


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def test_shared_images_are_the_same_files_or_have_the_same_bytes(tmp_path: Path) -> None:
    long = np.random.default_rng(0).bytes(300_000)
    middle = long[:150_000] + b"x" + long[150_001:]  # whose size and ends are the same
    train = write(tmp_path / "train", {"a": long, "b": b"b", "c": b"ccc", "d": b"b", "empty": b""})
    val = write(tmp_path / "val", {"m": middle, "copy": long, "e": b"b", "f": b"fff", "none": b"", "pair": b"22"})
    (val / "link").symlink_to(train / "c")
    write(tmp_path / "x", {})
    names = ["m", "copy", "e", "f", "none", "link", "pair", "missing"]
    (val / "twin").write_bytes(b"22")  # a copy within validation alone
    shared = find_shared(ImageFiles(train, ["a", "b", "c", "d", "empty"]), ImageFiles(val, [*names, "twin"]))
    assert shared.same == {5: 2}
    assert shared.copies == {1: 0, 2: 1}
    assert shared.twins == {1: [0], 2: [1, 3], 5: [2]}
    described = shared.describe()
    assert described == {"images_in_both": 1, "copies_in_both": {"count": 2, "first": [["copy", "a"], ["e", "b"]]}}
    assert flattering(described, 9) == [
        "3 of 9 validation images are also training images, 2 of them as identical files of another name (copy = a, "
        "e = b): these figures flatter."
    ]
    both = find_shared(ImageFiles(train, ["a", "b"]), ImageFiles(tmp_path / "x/../train", ["b", "c"]))
    assert (both.same, both.copies, both.describe()) == ({0: 1}, {}, {"images_in_both": 1})
    assert both.twins == {0: [1]}
    again = find_shared(ImageFiles(train, ["a", "d", "b"]), ImageFiles(train, ["b", "c"]))
    assert (again.same, again.twins) == ({0: 2}, {0: [1, 2]})
    assert find_shared(ImageFiles(train, ["a"]), ImageFiles(train, ["b"])).twins == {}


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (0, []),
        (1, ["1 of 1,200 validation images is also a training image: so."]),
        (1100, ["1,100 of 1,200 validation images are also training images: so."]),
    ],
)
def test_the_sentence(count: int, sentence: list[str]) -> None:
    assert flattering({"images_in_both": count}, 1200, "so") == sentence
