"""The format of a label file is recognized, or refused with a list of the formats."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyview.errors import UserError
from manyview.labels import read_labels

Write = Callable[[str, str], Path]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.xml", "<annotation></annotation>"),
        ("l.toml", "names: [a]"),
        ("l", "image,labels\n"),
        ("a.txt", "0 .5 .5 .1 .1\n"),
    ],
)
def test_files_of_no_known_format(write: Write, images: Path, name: str, content: str) -> None:
    with pytest.raises(UserError) as refused:
        read_labels(write(name, content), images)
    message = str(refused.value)
    assert f"{name} is no label file of a known format: labels may be a .csv" in message
    assert all(form in message for form in ("COCO", "ImageSets/Main", ".xml annotations", "YOLO"))


def test_folders_of_no_known_format(write: Write, images: Path) -> None:
    with pytest.raises(UserError, match="images is no label file of a known format"):
        read_labels(images, images)
    with pytest.raises(UserError, match="of a known format"):
        read_labels(write("prose/read_me.txt", "Labels are elsewhere.").parent, images)
    with pytest.raises(UserError, match="of a known format"):
        read_labels(write("names/classes.txt", "a\nb\n").parent, images)
    with pytest.raises(UserError, match="ImageSets is no label file of a known format"):
        read_labels(write("ImageSets/Main/dog_val.txt", "a 1\n").parents[1], images)


def test_a_folder_of_two_formats_is_not_guessed(write: Write, images: Path) -> None:
    write("both/a.txt", "0 .5 .5 .1 .1\n")
    folder = write("both/a.xml", "<annotation></annotation>").parent
    with pytest.raises(UserError, match=r"both holds both \.xml and \.txt files, such as a\.xml and a\.txt"):
        read_labels(folder, images)
    (folder / "a.txt").rename(folder / "classes.txt")
    with pytest.raises(UserError, match="no label at all"):
        read_labels(folder, images)


def test_yolo_files_named_like_lists(write: Write, images: Path) -> None:
    (images / "a_1.jpg").touch()
    write("labels/a_1.txt", "a 1\n")
    folder = write("labels/b.txt", "0 .5 .5 .1 .1\n").parent
    with pytest.raises(UserError, match=r"line 1 of a_1\.txt is 'a 1'"):
        read_labels(folder, images)


def test_files_that_cannot_be_read(write: Write, images: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the labels .* does not exist"):
        read_labels(tmp_path / "none.csv", images)
    with pytest.raises(UserError, match=r"folder of images .* does not exist"):
        read_labels(write("l.csv", "image,labels\n"), tmp_path / "none")
    (tmp_path / "latin.csv").write_bytes(b"image,labels\na.jpg,caf\xe9\n")
    with pytest.raises(UserError, match="must be UTF-8 text, but byte 22 is not"):
        read_labels(tmp_path / "latin.csv", images)


def test_choices(write: Write, images: Path) -> None:
    file = write("l.csv", "image,labels\na.jpg,x\n")
    assert read_labels(file, images, difficult="positive", problems="skip").names == ("a.jpg",)
    unchecked: Any = inspect.unwrap(read_labels)  # the tests' own type checks would refuse them first
    with pytest.raises(UserError, match="problems must be 'refuse' or 'skip', not 'hide'"):
        unchecked(file, images, problems="hide")
    with pytest.raises(UserError, match="difficult must be 'ignore' or 'positive', not 'negative'"):
        unchecked(file, images, difficult="negative")
