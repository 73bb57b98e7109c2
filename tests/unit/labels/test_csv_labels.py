"""Labels from CSV: one row an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from manyview.errors import UserError
from manyview.labels import read_labels

Write = Callable[[str, str], Path]


def test_rows_keep_their_order_and_classes_are_alphabetical(write: Write, images: Path) -> None:
    file = write("l.csv", "image,labels\nc/d.png,dog|traffic light\nb.jpg,\n./a.jpg, cat | dog|dog \n")
    labels = read_labels(file, images)
    assert labels.names == ("c/d.png", "b.jpg", "a.jpg")
    assert labels.classes == ("cat", "dog", "traffic light")
    assert labels.targets.dtype == np.uint8
    assert labels.targets.tolist() == [[0, 1, 1], [0, 0, 0], [1, 1, 0]]
    assert (labels.ignored, labels.skipped) == (None, ())


def test_other_columns_quotes_and_mark(write: Write, images: Path) -> None:
    file = write("l.CSV", '\ufefflabels,split,Image\n"cat, small|dog",x,a.jpg\n\n')
    labels = read_labels(file, images)
    assert (labels.names, labels.classes) == (("a.jpg",), ("cat, small", "dog"))


def test_classes_given_decide_the_columns(write: Write, images: Path) -> None:
    file = write("l.csv", "image,labels\na.jpg,cat|dog\n")
    labels = read_labels(file, images, ["dog", "zebra", "cat", "person"])
    assert labels.classes == ("dog", "zebra", "cat", "person")
    assert labels.targets.tolist() == [[1, 0, 1, 0]]
    with pytest.raises(UserError, match="the classes cat, dog, cat are not all different"):
        read_labels(file, images, ["cat", "dog", "cat"])


@pytest.mark.parametrize("problems", ["refuse", "skip"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,labels\na.jpg,\n", "no label at all"),
        ("image,labels\n", "names no images"),
        ("a.jpg,cat\n", "must begin with the header image,labels, not with 'a.jpg,cat'"),
        ("", "must begin with the header"),
        ('image,labels\n"a.jpg,cat\n', "not a CSV file"),
        ("x" * 200_000, "not a CSV file: field larger"),
        ('image,labels\n"' + "x" * 200_000, "not a CSV file: field larger"),
    ],
)
def test_faults_of_the_whole_file(write: Write, images: Path, content: str, message: str, problems: str) -> None:
    with pytest.raises(UserError, match=message):
        read_labels(write("l.csv", content), images, problems=problems)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("a.jpg,cat||dog", "line 4 has an empty label in 'cat||dog'"),
        ("a.jpg,cat,dog", "line 4 has 3 cells where the header has 2"),
        ("a.jpg", "line 4 has 1 cells where the header has 2"),
        (" ,cat", "line 4 names no image"),
    ],
)
def test_malformed_rows(write: Write, images: Path, row: str, sentence: str) -> None:
    # A line break within quotes: numbers are those of lines, not of rows.
    file = write("l.csv", f'image,labels\nb.jpg,"red\ndog"\n{row}\nc/d.png,cat\n')
    with pytest.raises(UserError) as refused:
        read_labels(file, images)
    assert f"has a problem ({sentence}): join the labels of an image by |" in str(refused.value)
    labels = read_labels(file, images, problems="skip")
    assert (labels.names, labels.classes) == (("b.jpg", "c/d.png"), ("cat", "red\ndog"))
    assert labels.skipped == (sentence,)


def test_many_rows_with_faulty_quotes_are_read_once_each(write: Write, images: Path) -> None:
    rows = 'a.jpg,cat,"a "long" caption"\n' * 5000
    labels = read_labels(write("l.csv", f"image,labels,caption\n{rows}"), images, problems="skip")
    assert (labels.names, labels.classes, len(labels.skipped)) == (("a.jpg",), ("cat",), 4999)


def test_what_is_skipped_is_told_in_a_line_of_bounded_length(write: Write, images: Path) -> None:
    long = "x" * 100_000
    labels = read_labels(
        write("l.csv", f"image,labels\n{long}.jpg,cat\n\x1b[31m.jpg,cat\na.jpg,dog\n"), images, problems="skip"
    )
    first, second = labels.skipped
    assert len(first) < 600
    assert first.startswith("line 2 names xxx")
    assert second.startswith(r"line 3 names \x1b[31m.jpg, which is missing")
