"""Labels from COCO instances: an image shows the categories of its objects."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyview.errors import UserError
from manyview.labels import read_labels

Write = Callable[[str, str], Path]

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


def changed(part: str, value: Any) -> str:
    return json.dumps({**copy.deepcopy(COCO), part: value})


def more(part: str, *entries: Any) -> str:
    return changed(part, [*COCO[part], *entries])


def test_all_categories_images_and_crowds_count(write: Write, images: Path) -> None:
    labels = read_labels(write("l.json", json.dumps(COCO)), images)
    assert labels.names == ("c/d.png", "a.jpg", "b.jpg")
    assert labels.classes == ("person", "cat", "dog")
    assert labels.targets.tolist() == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert (labels.ignored, labels.skipped) == (None, ())


def test_classes_given_decide_the_columns(write: Write, images: Path) -> None:
    classes = ["dog", "zebra", "cat", "person"]
    labels = read_labels(write("l.json", json.dumps(COCO)), images, classes)
    assert labels.classes == tuple(classes)
    assert labels.targets.tolist() == [[0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]]


def test_a_category_beyond_the_classes_given_may_be_defined_but_not_shown(write: Write, images: Path) -> None:
    file = write("l.json", more("categories", {"id": 99, "name": "unseen"}))
    assert read_labels(file, images, ["cat", "dog", "person"]).classes == ("cat", "dog", "person")
    with pytest.raises(UserError, match=r"image id 7 gives c/d\.png the unknown class 'cat'"):
        read_labels(file, images, ["dog", "person"])


@pytest.mark.parametrize("problems", ["refuse", "skip"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ('{"images": [' + "1" * 5000 + "]}", "not a JSON file"),
        ("[1]", "malformed"),
        (json.dumps({part: COCO[part] for part in ("images", "categories")}), "lacks 'annotations'"),
        (changed("images", None), "has images that are not a list"),
        (changed("images", []), "annotations but is not among the images"),
        (changed("categories", [{"id": 1}]), "has a category that lacks 'name'"),
        (more("categories", {"id": 5, "name": "dog"}), "has the category dog more than once"),
        (more("categories", {"id": 17, "name": "cow"}), "has the category id 17 more than once"),
    ],
)
def test_faults_of_the_whole_file(write: Write, images: Path, content: str, message: str, problems: str) -> None:
    with pytest.raises(UserError, match=message):
        read_labels(write("l.json", content), images, problems=problems)


@pytest.mark.parametrize(
    ("content", "sentence", "left"),
    [
        (more("images", {"id": 1}), "number 4 of its images lacks 'file_name'", ["c/d.png", "a.jpg", "b.jpg"]),
        (
            more("images", {"id": 1, "file_name": None}),
            "number 4 of its images is malformed (file_name is None)",
            ["c/d.png", "a.jpg", "b.jpg"],
        ),
        (
            more("annotations", {"category_id": 1}),
            "number 5 of its annotations lacks 'image_id'",
            ["c/d.png", "a.jpg", "b.jpg"],
        ),
        (
            more("annotations", {"image_id": 3}),
            "image id 3 has an annotation of category None, which is not defined",
            ["c/d.png", "b.jpg"],
        ),
        (
            more("annotations", {"image_id": 3, "category_id": 2}),
            "image id 3 has an annotation of category 2, which is not defined",
            ["c/d.png", "b.jpg"],
        ),
        (
            more("annotations", *[{"image_id": 9, "category_id": number} for number in (1, 18)]),
            "image id 9 has annotations but is not among the images",
            ["c/d.png", "a.jpg", "b.jpg"],
        ),
        (more("images", {"id": 3, "file_name": "x.jpg"}), "image id 3 stands for 2 images", ["c/d.png", "b.jpg"]),
        (
            more("images", COCO["images"][1]),
            "image id 3 names a.jpg again, as image id 3 does",
            ["c/d.png", "a.jpg", "b.jpg"],
        ),
        (
            more("images", {"id": 9, "file_name": "a.jpg"}),
            "image id 3 and image id 9 give a.jpg different labels",
            ["c/d.png", "b.jpg"],
        ),
    ],
)
def test_malformed_entries(write: Write, images: Path, content: str, sentence: str, left: list[str]) -> None:
    file = write("l.json", content)
    with pytest.raises(UserError) as refused:
        read_labels(file, images)
    assert f"l.json has a problem ({sentence}): " in str(refused.value)
    labels = read_labels(file, images, problems="skip")
    whole = read_labels(write("whole.json", json.dumps(COCO)), images)
    assert list(labels.names) == left
    assert labels.classes == whole.classes
    assert labels.targets.tolist() == [whole.targets[whole.names.index(name)].tolist() for name in left]
    assert labels.skipped == (sentence,)
