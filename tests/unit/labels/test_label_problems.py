"""Entries that cannot be used: refused in one line, or left out and listed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from manyview.errors import UserError
from manyview.labels import read_labels

Write = Callable[[str, str], Path]
Rows = Sequence[tuple[str, list[str]]]


def as_csv(write: Write, rows: Rows) -> Path:
    return write("l.csv", "image,labels\n" + "".join(f"{name},{'|'.join(shown)}\n" for name, shown in rows))


def as_coco(write: Write, rows: Rows) -> Path:
    classes = sorted({label for _, shown in rows for label in shown})
    content: dict[str, Any] = {
        "categories": [{"id": index, "name": name} for index, name in enumerate(classes)],
        "images": [{"id": index, "file_name": name} for index, (name, _) in enumerate(rows, start=2)],
        "annotations": [
            {"image_id": index, "category_id": classes.index(label)}
            for index, (_, shown) in enumerate(rows, start=2)
            for label in shown
        ],
    }
    return write("l.json", json.dumps(content))


def as_listed_xml(write: Write, rows: Rows) -> Path:
    for name, shown in rows:
        objects = "".join(f"<object><name>{label}</name></object>" for label in shown)
        write(f"Annotations/{name.rpartition('.')[0]}.xml", f"<annotation>{objects}</annotation>")
    return write("l.txt", "".join(f"\n{name.rpartition('.')[0]}" for name, _ in rows))


# In each format the first of the rows is the second line, or has the id 2.
FORMATS = pytest.mark.parametrize(
    ("write_as", "place"), [(as_csv, "line"), (as_coco, "image id"), (as_listed_xml, "line")]
)


@FORMATS
def test_missing_images(write: Write, images: Path, write_as: Callable[[Write, Rows], Path], place: str) -> None:
    file = write_as(write, [("x.jpg", ["cat"]), ("a.jpg", ["dog"]), ("c/x.jpg", []), ("y.jpg", []), ("z.jpg", [])])
    if write_as is as_listed_xml:
        sentences = [
            f"line {n} has no image {name}.*{near}"
            for n, name, near in ((2, "x", ""), (4, "c/x", ", the nearest name being c/d.png"))
        ]
        advice = f"images are looked for in {images} by their names without extension"
    else:
        sentences = [
            f"{place} {number} names {name}.jpg, which is missing, the nearest name being {near}"
            for number, name, near in ((2, "x", "b.jpg"), (4, "c/x", "c/d.png"))
        ]
        advice = f"names must be relative to {images}, with their extension"
    with pytest.raises(UserError) as refused:
        read_labels(file, images)
    message = str(refused.value)
    assert message.startswith(f"{file} has 4 problems ({sentences[0]}; {sentences[1]}; {place} 5 ")
    assert message.endswith(f"; ...): {advice}; --label-problems skip leaves out whatever has a problem")
    labels = read_labels(file, images, problems="skip")
    assert labels.names == ("a.jpg",)
    # Where a file does not say which classes there are, those of images left out are none.
    assert labels.classes == (("cat", "dog") if write_as is as_coco else ("dog",))
    assert labels.targets[0].tolist() == [name == "dog" for name in labels.classes]
    assert (len(labels.skipped), list(labels.skipped[:2])) == (4, sentences)


@pytest.mark.parametrize("name", ["../photos/a.jpg", "/a.jpg", "c/../../a.jpg"])
@pytest.mark.parametrize(("write_as", "place"), [(as_csv, "line"), (as_coco, "image id")])
def test_images_outside_the_folder(
    write: Write, images: Path, write_as: Callable[[Write, Rows], Path], place: str, name: str
) -> None:
    file = write_as(write, [(name, ["cat"]), ("b.jpg", ["cat"])])
    sentence = f"{place} 2 names {name}, which is outside of the folder of images, the nearest name being a.jpg"
    with pytest.raises(UserError) as refused:
        read_labels(file, images)
    assert str(refused.value).startswith(f"{file} has a problem ({sentence}): names must be relative to {images}; --")
    labels = read_labels(file, images, problems="skip")
    assert (labels.names, labels.skipped) == (("b.jpg",), (sentence,))


@pytest.mark.parametrize(("write_as", "place"), [(as_csv, "line"), (as_coco, "image id")])
def test_images_named_twice(write: Write, images: Path, write_as: Callable[[Write, Rows], Path], place: str) -> None:
    agreeing = [("a.jpg", ["cat", "dog"]), ("b.jpg", ["dog"]), ("c/../a.jpg", ["dog", "cat"])]
    file = write_as(write, agreeing)
    with pytest.raises(UserError, match=rf"\({place} 4 names a\.jpg again, as {place} 2 does\): each image .* once"):
        read_labels(file, images)
    labels = read_labels(file, images, problems="skip")
    assert (labels.names, labels.targets.tolist()) == (("a.jpg", "b.jpg"), [[1, 1], [0, 1]])
    assert labels.skipped == (f"{place} 4 names a.jpg again, as {place} 2 does",)
    # One of them is wrong, and nobody can tell which.
    file = write_as(write, [*agreeing, ("./a.jpg", ["dog"])])
    with pytest.raises(UserError, match=f"{place} 2 and {place} 5 give a.jpg different labels"):
        read_labels(file, images)
    labels = read_labels(file, images, problems="skip")
    assert (labels.names, labels.targets[:, labels.classes.index("dog")].tolist()) == (("b.jpg",), [1])
    assert labels.skipped == (
        f"{place} 4 names a.jpg again, as {place} 2 does",
        f"{place} 2 and {place} 5 give a.jpg different labels",
    )


@FORMATS
def test_unknown_classes(write: Write, images: Path, write_as: Callable[[Write, Rows], Path], place: str) -> None:
    file = write_as(write, [("a.jpg", ["cat", "dog"]), ("b.jpg", ["cat"]), ("c/d.png", [])])
    sentence = f"{place} 2 gives a.jpg the unknown class 'dog', the nearest known one being 'dig'"
    with pytest.raises(UserError) as refused:
        read_labels(file, images, ["cat", "dig"])
    assert str(refused.value).startswith(f"{file} has a problem ({sentence}): ")
    # The image is left out as a whole: without its dog it could be mistaken for one that shows none.
    labels = read_labels(file, images, ["cat", "dig"], problems="skip")
    assert (labels.names, labels.classes) == (("b.jpg", "c/d.png"), ("cat", "dig"))
    assert (labels.targets.tolist(), labels.skipped) == ([[1, 0], [0, 0]], (sentence,))


def test_difficult_objects_of_unknown_classes_are_unknown_too(write: Write, images: Path) -> None:
    file = write("dog_val.txt", "a 0\nb -1\n")
    with pytest.raises(UserError, match=r"gives a\.jpg the unknown class 'dog'"):
        read_labels(write("o/dog_val.txt", file.read_text()).parent, images, [])


def test_images_that_differ_only_in_their_extension(write: Write, images: Path) -> None:
    (images / "a.png").touch()
    folder = write("labels/a.txt", "0 .5 .5 .1 .1\n").parent
    write("labels/b.txt", "0 .5 .5 .1 .1\n")
    with pytest.raises(UserError, match=r"a\.txt may belong to any of a\.jpg, a\.png"):
        read_labels(folder, images)
    assert read_labels(folder, images, problems="skip").names == ("b.jpg",)


def test_a_folder_is_no_image(write: Write, images: Path) -> None:
    with pytest.raises(UserError, match=r"c\.txt has no image c\.\*\)"):
        read_labels(write("labels/c.txt", "0 .5 .5 .1 .1\n").parent, images)


def test_a_folder_of_images_that_cannot_be_searched(
    write: Write, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path) == images:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"cannot search the folder .*images \(Permission denied\): permit"):
        read_labels(write("labels/a.txt", "0 .5 .5 .1 .1\n").parent, images)


@pytest.mark.parametrize("problems", ["refuse", "skip"])
def test_when_nothing_is_left(write: Write, images: Path, problems: str) -> None:
    with pytest.raises(UserError) as refused:
        read_labels(as_csv(write, [("x.jpg", ["cat"])]), images, problems=problems)
    assert str(refused.value).endswith("with their extension")


def test_several_kinds_of_problem_are_reported_together(write: Write, images: Path) -> None:
    file = as_csv(write, [("x.jpg", ["cat"]), ("a.jpg", ["cow"]), ("b.jpg", ["cat"]), ("a.jpg", ["cow"]), ("", [])])
    labels = read_labels(file, images, ["cat"], problems="skip")
    assert labels.names == ("b.jpg",)
    assert labels.skipped == (
        "line 6 names no image",
        "line 2 names x.jpg, which is missing, the nearest name being b.jpg",
        "line 5 names a.jpg again, as line 3 does",
        "line 3 gives a.jpg the unknown class 'cow', the nearest known one being 'cat'",
    )
    with pytest.raises(UserError, match="has 4 problems"):
        read_labels(file, images, ["cat"])
