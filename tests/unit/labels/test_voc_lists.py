"""Labels from Pascal VOC's ImageSets/Main: 1, 0 for difficult, -1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from manyview.errors import UserError
from manyview.labels import read_labels

Write = Callable[[str, str], Path]

DOG = "b   1\na  -1\nc/d  0\n"
TRAFFIC_LIGHT = "b  0\na   1\nc/d  -1\n"


@pytest.fixture
def main(write: Write) -> Path:
    """ImageSets/Main with two splits of two classes."""
    for split in ("train", "val"):
        write(f"ImageSets/Main/dog_{split}.txt", DOG if split == "train" else "a 1\n")
        write(f"ImageSets/Main/traffic_light_{split}.txt", TRAFFIC_LIGHT if split == "train" else "a -1\n")
        write(f"ImageSets/Main/{split}.txt", "b\na\nc/d\n" if split == "train" else "a\n")
    return write("ImageSets/Main/.hidden_train.txt", "?").parent


def test_difficult_is_neither_shown_nor_not_shown(main: Path, images: Path) -> None:
    labels = read_labels(main / "train.txt", images)
    assert labels.names == ("b.jpg", "a.jpg", "c/d.png")
    assert labels.classes == ("dog", "traffic_light")
    assert labels.targets.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert labels.ignored is not None
    assert labels.ignored.tolist() == [[0, 1], [0, 0], [1, 0]]


def test_difficult_counts_as_shown_if_asked(main: Path, images: Path) -> None:
    labels = read_labels(main / "train.txt", images, difficult="positive")
    assert labels.targets.tolist() == [[1, 1], [0, 1], [1, 0]]
    assert labels.ignored is None


def test_the_split_chooses_the_lists_beside_it(write: Write, main: Path, images: Path) -> None:
    write("ImageSets/Main/old/cat_val.txt", "a 1\n")
    labels = read_labels(main / "val.txt", images)
    assert (labels.names, labels.targets.tolist(), labels.ignored) == (("a.jpg",), [[1, 0]], None)


def test_one_list_gives_one_class(main: Path, images: Path) -> None:
    labels = read_labels(main / "traffic_light_train.txt", images)
    assert (labels.classes, labels.targets.tolist()) == (("traffic_light",), [[0], [1], [0]])


def test_a_folder_of_one_split(main: Path, images: Path) -> None:
    with pytest.raises(UserError, match=r"lists of several splits \(train, val\): give .*, such as .*Main/train\.txt$"):
        read_labels(main, images)
    for file in main.glob("*val.txt"):
        file.unlink()
    labels = read_labels(main, images)
    assert (labels.classes, labels.targets.tolist()) == (("dog", "traffic_light"), [[1, 0], [0, 1], [0, 0]])


def test_a_folder_of_several_splits_without_their_plain_lists(main: Path, images: Path) -> None:
    for name in ("train.txt", "val.txt"):
        (main / name).unlink()
    with pytest.raises(UserError, match="give a folder with those of one split only"):
        read_labels(main, images)


def test_names_with_extension_and_white_space(write: Write, images: Path) -> None:
    (images / "my photo.jpg").touch()
    labels = read_labels(write("dog_x.txt", "\n  a.jpg\t1\r\nmy photo -1\n"), images)
    assert (labels.names, labels.targets.tolist()) == (("a.jpg", "my photo.jpg"), [[1], [0]])


def test_lists_say_nothing_of_classes_without_one(main: Path, images: Path) -> None:
    labels = read_labels(main / "train.txt", images, ["traffic_light", "dog"])
    assert labels.targets.tolist() == [[0, 1], [1, 0], [0, 0]]
    with pytest.raises(UserError, match="has no list of cat, so that it does not say which images show"):
        read_labels(main / "train.txt", images, ["cat", "dog", "traffic_light"])
    # A list may be of a class that is not asked for, if no image shows it.
    assert read_labels(main / "val.txt", images, ["dog"]).targets.tolist() == [[1]]
    with pytest.raises(UserError, match=r"gives b\.jpg the unknown class 'traffic_light'"):
        read_labels(main / "train.txt", images, ["dog"])


def test_names_that_say_neither_class_nor_split(write: Write, images: Path) -> None:
    with pytest.raises(UserError, match=r"dog\.txt must be called CLASS_SPLIT\.txt"):
        read_labels(write("dog.txt", DOG), images)
    with pytest.raises(UserError, match=r"alone\.txt only lists images, and there is neither"):
        read_labels(write("alone.txt", "a\nb\n"), images)


@pytest.mark.parametrize(
    ("dog", "sentence", "left"),
    [
        ("b 1\na 2\nc/d -1\n", "line 2 of dog_s.txt is 'a 2', not an image with 1, 0 or -1", ["b.jpg", "c/d.png"]),
        ("b 1\na\nc/d -1\n", "line 2 of dog_s.txt is 'a', not an image with 1, 0 or -1", ["b.jpg", "c/d.png"]),
        ("b 1\na 1\nc/d -1\na -1\n", "line 4 of dog_s.txt gives a -1, but line 2 gives it 1", ["b.jpg", "c/d.png"]),
        ("b 1\na 1\nc/d -1\na 1\n", "line 4 of dog_s.txt names a again, as line 2 does", ["b.jpg", "a.jpg", "c/d.png"]),
        ("b 1\nc/d -1\n", "line 2 of cat_s.txt names a, which is not in dog_s.txt", ["b.jpg", "c/d.png"]),
    ],
)
def test_malformed_lists(write: Write, images: Path, dog: str, sentence: str, left: list[str]) -> None:
    write("lists/dog_s.txt", dog)
    folder = write("lists/cat_s.txt", "b 1\na -1\nc/d 1\n").parent
    with pytest.raises(UserError) as refused:
        read_labels(folder, images)
    assert f"lists has a problem ({sentence}): " in str(refused.value)
    labels = read_labels(folder, images, problems="skip")
    assert list(labels.names) == left
    assert labels.classes == ("cat", "dog")
    table = {"b.jpg": [1, 1], "a.jpg": [0, 1], "c/d.png": [1, 0]}
    assert labels.targets.tolist() == [table[name] for name in left]
    assert labels.skipped == (sentence,)


@pytest.mark.parametrize("name", ["a\0", "x" * 5000, "a/" * 3000])
def test_names_that_no_file_can_have(write: Write, images: Path, name: str) -> None:
    write("Annotations/b.xml", "<annotation><object><name>dog</name></object></annotation>")
    file = write("ImageSets/Main/train.txt", f"b\n{name}\n")
    with pytest.raises(UserError, match=r"train.txt has a problem .line 2 names "):
        read_labels(file, images)
    assert read_labels(file, images, problems="skip").names == ("b.jpg",)
