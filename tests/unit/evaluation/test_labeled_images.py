"""Labels for an evaluation: what becomes of difficult ones and of those that cannot be used, and what is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from manyview.errors import UserError
from manyview.evaluation.data import Data, Sources


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(6):
        Image.new("RGB", (8, 8)).save(folder / f"{index}.png")
    return folder


def csv_files(images: Path, train: list[str], val: list[str], **options: Any) -> Data:
    files = []
    for name, rows in (("train.csv", train), ("val.csv", val)):
        file = images.parent / name
        file.write_text("\n".join(["image,labels", *rows]) + "\n")
        files.append(file)
    return Sources(images, *files, **options).read()


def voc_lists(images: Path, **options: Any) -> Data:
    """Of three images each, the second shows nothing but difficult cats."""
    for part, first in (("train", 0), ("val", 3)):
        marks = zip(range(first, first + 3), (1, 0, -1), strict=True)
        (images.parent / f"cat_{part}.txt").write_text("".join(f"{index} {mark}\n" for index, mark in marks))
    return Sources(images, images.parent / "cat_train.txt", images.parent / "cat_val.txt", **options).read()


def test_difficult_labels_count_neither_way_or_as_positives(images: Path) -> None:
    ignoring, positive = voc_lists(images), voc_lists(images, difficult="positive")
    for data, positives, ignored in ((ignoring, [1], [1]), (positive, [2], [0])):
        for part in (data.train, data.val):
            described = part.describe()
            assert described["positives"] == positives
            assert described["ignored"] == ignored
    assert ignoring.val.describe()["difficult"] == "ignore"
    assert positive.val.describe()["difficult"] == "positive"
    assert ignoring.val.describe()["labels_sha256"] != positive.val.describe()["labels_sha256"]


def test_problems_are_refused_unless_they_are_skipped(images: Path) -> None:
    rows = (["0.png,cat", "1.png,dog", "9.png,dog"], ["2.png,cat", "3.png,cta", "4.png,dog"])
    with pytest.raises(UserError, match=r"train\.csv has a problem .*9\.png"):
        csv_files(images, *rows)
    data = csv_files(images, *rows, label_problems="skip")
    train, val = (part.describe() for part in (data.train, data.val))
    assert (train["count"], train["skipped"]["count"]) == (2, 1)
    assert train["skipped"]["first"] == ["line 4 names 9.png, which is missing, the nearest name being 5.png"]
    assert (data.classes, val["positives"]) == (("cat", "dog"), [1, 1])
    (sentence,) = val["skipped"]["first"]
    assert sentence.startswith("line 3 gives 3.png the unknown class 'cta'")


def test_a_class_that_the_training_labels_lack_is_refused(images: Path) -> None:
    with pytest.raises(UserError, match=r"val\.csv has a problem .*'bird'"):
        csv_files(images, ["0.png,cat"], ["1.png,bird"])


def test_validation_labels_that_show_nothing_are_refused(images: Path) -> None:
    with pytest.raises(UserError, match=r"no image of .*val\.csv shows any of the classes: there is nothing to"):
        csv_files(images, ["0.png,cat"], ["1.png,", "2.png,"])


def test_training_labels_that_show_nothing_are_refused(images: Path) -> None:
    """Which name their classes all the same."""
    tables = [images.parent / "train.csv", images.parent / "val.csv"]
    for file, marks in zip(tables, ("0", "1"), strict=True):
        file.write_text(f"image,cat,dog\n0.png,{marks},0\n1.png,0,{marks}\n")
    with pytest.raises(
        UserError, match=r"no image of .*train\.csv shows any of the classes: there is nothing to learn"
    ):
        Sources(images, *tables).read()


def test_validation_images_may_lie_elsewhere(images: Path) -> None:
    elsewhere = images.parent / "elsewhere"
    images.rename(elsewhere)
    images.mkdir()
    (elsewhere / "0.png").rename(images / "0.png")
    data = csv_files(images, ["0.png,cat"], ["1.png,cat"], val_images=elsewhere)
    assert (data.train.folder, data.val.folder) == (images, elsewhere)
    assert not data.shared.same


def test_the_record_lists_no_more_than_a_hundred(images: Path) -> None:
    missing = [f"none/{index}.png,cat" for index in range(150)]
    data = csv_files(images, ["0.png,cat", *missing], ["1.png,cat"], label_problems="skip")
    described = data.train.describe()
    assert described["skipped"]["count"] == 150
    assert len(described["skipped"]["first"]) == 100
    assert described["skipped"]["first"][0] == "line 3 names none/0.png, which is missing, the nearest name being 0.png"


def test_the_record_without_any_problem(images: Path) -> None:
    data = csv_files(images, ["0.png,cat", "1.png,"], ["1.png,cat"])
    described: dict[str, Any] = data.train.describe()
    assert {key: described[key] for key in ("images", "labels", "count", "positives", "ignored", "skipped")} == {
        "images": str(images),
        "labels": str(images.parent / "train.csv"),
        "count": 2,
        "positives": [1],
        "ignored": [0],
        "skipped": {"count": 0, "first": []},
    }
    assert data.shared.same == {0: 1}
