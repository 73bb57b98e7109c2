from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyview.errors import UserError
from manyview.images import read_labels

COCO: dict[str, Any] = {
    "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 17, "name": "cat"}],
    "images": [{"id": 7, "file_name": "c/d.png"}, {"id": 3, "file_name": "a.jpg"}, {"id": 5, "file_name": "b.jpg"}],
    "annotations": [
        {"image_id": 3, "category_id": 18, "iscrowd": 0},
        {"image_id": 3, "category_id": 18, "iscrowd": 0},
        {"image_id": 3, "category_id": 1, "iscrowd": 1},
        {"image_id": 7, "category_id": 17, "iscrowd": 0},
    ],
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "c").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "c/d.png"):
        (folder / name).touch()
    return folder


def write(tmp_path: Path, name: str, content: str) -> Path:
    (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path / name


def test_csv(tmp_path: Path, images: Path) -> None:
    file = write(tmp_path, "l.csv", "image,labels\nc/d.png,dog|traffic light\nb.jpg,\n./a.jpg, cat | dog|dog \n")
    labels = read_labels(file, images)
    assert labels.names == ("c/d.png", "b.jpg", "a.jpg")
    assert labels.classes == ("cat", "dog", "traffic light")
    assert labels.targets.dtype == np.uint8
    assert labels.targets.tolist() == [[0, 1, 1], [0, 0, 0], [1, 1, 0]]


def test_csv_with_other_columns_quotes_and_mark(tmp_path: Path, images: Path) -> None:
    file = write(tmp_path, "l.CSV", '\ufefflabels,split,Image\n"cat, small|dog",x,a.jpg\n\n')
    labels = read_labels(file, images)
    assert (labels.names, labels.classes) == (("a.jpg",), ("cat, small", "dog"))


def test_coco_keeps_all_categories_images_and_crowds(tmp_path: Path, images: Path) -> None:
    labels = read_labels(write(tmp_path, "l.json", json.dumps(COCO)), images)
    assert labels.names == ("c/d.png", "a.jpg", "b.jpg")
    assert labels.classes == ("person", "cat", "dog")
    assert labels.targets.tolist() == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]


def test_classes_given_decide_the_columns(tmp_path: Path, images: Path) -> None:
    classes = ["dog", "zebra", "cat", "person"]
    file = write(tmp_path, "l.csv", "image,labels\na.jpg,cat|dog\n")
    assert read_labels(file, images, classes).targets.tolist() == [[1, 0, 1, 0]]
    labels = read_labels(write(tmp_path, "l.json", json.dumps(COCO)), images, classes)
    assert labels.classes == tuple(classes)
    assert labels.targets.tolist() == [[0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]]
    with pytest.raises(
        UserError, match=r"l\.csv gives a\.jpg the unknown class 'dog': the nearest known class is 'dig'"
    ):
        read_labels(file, images, ["cat", "dig"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,labels\nx.jpg,cat\ny.jpg,\n", r"2 of 2 images \(x.jpg, y.jpg\) not found"),
        ("image,labels\na.jpg,cat\nx.jpg,cat\n", r"1 of 2 images \(x.jpg\) not found"),
        ("image,labels\n../images/a.jpg,cat\n", "outside the folder"),
        ("image,labels\na.jpg,cat\nb.jpg,cat\n./a.jpg,dog\n", "1 duplicates, first the image a.jpg"),
        ("image,labels\na.jpg,\n", "no label at all"),
        ("image,labels\n", "names no images"),
        ("image,labels\na.jpg,cat||dog\n", r"line 2, has an empty label in 'cat\|\|dog'"),
        ("image,labels\na.jpg,cat\nb.jpg,cat,dog\n", "line 3, has 3 cells where the header has 2"),
        ("a.jpg,cat\n", "must begin with the header image,labels, not with 'a.jpg,cat'"),
        ("", "must begin with the header"),
        ('image,labels\n"a.jpg,cat\n', "not a CSV file"),
    ],
)
def test_bad_csv(tmp_path: Path, images: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_labels(write(tmp_path, "l.csv", content), images)


def broken(key: str, value: Any) -> str:
    return json.dumps({**copy.deepcopy(COCO), key: value})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file"),
        ("[1]", "malformed"),
        (json.dumps({key: COCO[key] for key in ("images", "categories")}), "lacks 'annotations'"),
        (broken("images", [{"id": 1}]), "lacks 'file_name'"),
        (broken("annotations", [{"image_id": 9, "category_id": 1}]), "annotation of image 9, which"),
        (broken("annotations", [{"image_id": 3, "category_id": 2}]), "annotation of category 2, which"),
        (broken("categories", [{"id": 1, "name": "x"}, {"id": 2, "name": "x"}]), "1 duplicates, first the category x"),
        (broken("images", COCO["images"] + COCO["images"][:1]), "1 duplicates, first the image id 7"),
        (broken("images", [*COCO["images"], {"id": 9, "file_name": "a.jpg"}]), "1 duplicates, first the image a.jpg"),
        (broken("images", [{"id": 3, "file_name": "x.jpg"}, {"id": 7, "file_name": "a.jpg"}]), "not found"),
    ],
)
def test_bad_coco(tmp_path: Path, images: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_labels(write(tmp_path, "l.json", content), images)


def test_files_that_are_not_labels(tmp_path: Path, images: Path) -> None:
    with pytest.raises(UserError, match=r"must be a \.csv"):
        read_labels(write(tmp_path, "l.xml", ""), images)
    with pytest.raises(UserError, match=r"the labels .* does not exist"):
        read_labels(tmp_path / "none.csv", images)
    with pytest.raises(UserError, match=r"folder of photographs .* does not exist"):
        read_labels(write(tmp_path, "l.csv", "image,labels\n"), tmp_path / "none")
    (tmp_path / "latin.csv").write_bytes(b"image,labels\na.jpg,caf\xe9\n")
    with pytest.raises(UserError, match="must be UTF-8 text, but byte 22 is not"):
        read_labels(tmp_path / "latin.csv", images)
