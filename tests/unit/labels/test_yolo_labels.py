"""Labels from YOLO's text files, and the names of their classes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from manyview.errors import UserError
from manyview.labels import read_labels

Write = Callable[[str, str], Path]

BOX = ".5 0.5 1e-1 0.25"


@pytest.fixture
def labels_folder(write: Write) -> Path:
    write("data/labels/train/a.txt", f"2 {BOX}\n0 {BOX}\n\n2 {BOX}\n")
    write("data/labels/train/b.txt", "")
    # The outline of an object, as for segmentation.
    return write("data/labels/train/c/d.txt", "0 .1 .1 .2 .1 .2 .2\n").parents[1]


def test_without_names_the_classes_are_numbers(write: Write, images: Path, labels_folder: Path) -> None:
    write("data/labels/train/c/d.txt", f"10 {BOX}")
    labels = read_labels(labels_folder, images)
    assert labels.names == ("a.jpg", "b.jpg", "c/d.png")
    assert labels.classes == ("0", "2", "10")
    assert labels.targets.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert (labels.ignored, labels.skipped) == (None, ())


NAMES = {
    "classes.txt": "person\ntraffic light\nno\n\n",
    "data.yaml": "path: ../x  # root\ntrain: images/train\nnc: 3\nnames: [person, 'traffic light', \"no\"]\n",
    "data.yml": "names: [person,\n  traffic light, # two words\n  no]\nval: x\n",
}
MORE_YAML = [
    "names:\n- person\n- traffic light\n- no\nval: x\n",
    "names:\n  - person\n  - 'traffic light'\n  - no # not yet\n",
    "names:\n  0: person\n  1: traffic light\n  2: no\n",
    "names: {2: no, 0: person, 1: traffic light}\n",
]


@pytest.mark.parametrize("place", ["data/labels/train", "data/labels", "data"])
@pytest.mark.parametrize(("file", "content"), [*NAMES.items(), *(("data.yaml", text) for text in MORE_YAML)])
def test_names_of_the_classes(
    write: Write, images: Path, labels_folder: Path, place: str, file: str, content: str
) -> None:
    write(f"{place}/{file}", content)
    labels = read_labels(labels_folder, images)
    assert labels.classes == ("person", "traffic light", "no")
    assert labels.targets.tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_names_are_found_from_a_relative_folder(
    write: Write, images: Path, labels_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("data/classes.txt", NAMES["classes.txt"])
    monkeypatch.chdir(labels_folder)
    assert read_labels(Path(), Path(os.path.relpath(images))).classes == ("person", "traffic light", "no")


def test_names_of_another_data_set_above_do_not_count(write: Write, images: Path) -> None:
    write("classes.txt", "x\ny\n")
    assert read_labels(write("other/a.txt", f"1 {BOX}").parent, images).classes == ("1",)
    assert read_labels(write("labels/a.txt", f"1 {BOX}").parent, images).classes == ("x", "y")
    assert read_labels(write("train/labels/a.txt", f"1 {BOX}").parent, images).classes == ("x", "y")
    assert read_labels(write("very/deep/labels/a.txt", f"1 {BOX}").parent, images).classes == ("1",)


def test_the_nearest_names_count_and_two_in_one_place_must_agree(
    write: Write, images: Path, labels_folder: Path
) -> None:
    write("data/classes.txt", "x\ny\nz\n")
    write("data/labels/train/classes.txt", NAMES["classes.txt"])
    assert read_labels(labels_folder, images).classes == ("person", "traffic light", "no")
    write("data/labels/train/data.yaml", NAMES["data.yaml"])
    assert read_labels(labels_folder, images).classes == ("person", "traffic light", "no")
    write("data/labels/train/data.yaml", "names: [person, dog, no]\n")
    with pytest.raises(UserError, match=r"classes\.txt and .*data\.yaml name different classes"):
        read_labels(labels_folder, images)


@pytest.mark.parametrize("problems", ["refuse", "skip"])
@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("classes.txt", "a\nb\na\n", r"classes\.txt names 'a' more than once"),
        ("classes.txt", "a\n\nb\n", "leaves a class without a name"),
        ("classes.txt", "", "leaves a class without a name"),
        ("data.yaml", "nc: 3\n", "must have names: a list"),
        ("data.yaml", "- a\n", "must have names: a list"),
        ("data.yaml", "names: [[a], b]\n", "must have names: a list"),
        ("data.yaml", "names: a\n", "must have names: a list"),
        ("data.yaml", "names:\n", "must have names: a list"),
        ("data.yaml", "names: {zero: a}\n", "names by keys other than the classes' numbers"),
        ("data.yaml", "names: [a\n", r"data\.yaml is not YAML: .*"),
        ("data.yaml", "names: !!python/object/apply:os.getcwd []\n", "must have names: a list"),
    ],
)
def test_faulty_names(
    write: Write, images: Path, labels_folder: Path, file: str, content: str, message: str, problems: str
) -> None:
    write(f"data/labels/train/{file}", content)
    with pytest.raises(UserError, match=message) as refused:
        read_labels(labels_folder, images, problems=problems)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1 .5 .5 .1", "is '1 .5 .5 .1'"),
        ("cat .5 .5 .1 .1", "is 'cat .5 .5 .1 .1'"),
        ("-1 .5 .5 .1 .1", "is '-1 .5 .5 .1 .1'"),
        ("1 .5 .5 .1 nan", "is '1 .5 .5 .1 nan'"),
        ("1 .5 .5 .1 x" + "x" * 90, f"is '1 .5 .5 .1 x{'x' * 25}...'"),
        ("1" * 5000 + " .5 .5 .1 .1", f"is '{'1' * 37}...'"),
        ("3 .5 .5 .1 .1", "has the class 3, for which there is no name"),
    ],
)
def test_malformed_files(write: Write, images: Path, labels_folder: Path, line: str, fault: str) -> None:
    write("data/classes.txt", NAMES["classes.txt"])
    write("data/labels/train/a.txt", f"2 {BOX}\n{line}\n")
    with pytest.raises(UserError) as refused:
        read_labels(labels_folder, images)
    assert f"train has a problem (line 2 of a.txt {fault}): a line has the number of a class" in str(refused.value)
    labels = read_labels(labels_folder, images, problems="skip")
    assert labels.names == ("b.jpg", "c/d.png")
    assert labels.targets.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert labels.skipped == (f"line 2 of a.txt {fault}",)


def test_files_that_are_not_text(images: Path, labels_folder: Path) -> None:
    (labels_folder / "a.txt").write_bytes(b"\xff\xfe0")
    with pytest.raises(UserError, match=r"has a problem \(the labels .*a\.txt must be UTF-8 text"):
        read_labels(labels_folder, images)
    assert read_labels(labels_folder, images, problems="skip").names == ("b.jpg", "c/d.png")


def test_files_that_are_all_empty(write: Write, images: Path) -> None:
    folder = write("labels/a.txt", "\n").parent
    with pytest.raises(UserError, match="no label at all"):
        read_labels(folder, images)
    write("labels/classes.txt", "x\n")
    assert read_labels(folder, images).targets.tolist() == [[0]]
