"""Objects from COCO files: as they stand there, cut to their images, and every mistake reported."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from manyview.errors import UserError
from manyview.labels import DetectionLabels, read_annotations
from tests.helpers.detections import write_images, write_json
from tests.helpers.json_files import changed

COCO: dict[str, Any] = {
    "categories": [{"id": 9, "name": "owl"}, {"id": 2, "name": "cat"}, {"id": 4, "name": "ant"}],
    "images": [
        {"id": 7, "file_name": "c/d.png", "width": 41, "height": 30},
        {"id": 3, "file_name": "a.jpg"},
        {"id": 5, "file_name": "b.png", "width": 8.0, "height": 9},
    ],
    "annotations": [
        {"id": 0, "image_id": 3, "category_id": 9, "bbox": [1, 2, 3, 4]},
        {"id": 11, "image_id": 7, "category_id": 2, "bbox": [0.5, 1.25, 10, 2.5], "area": 20.5, "iscrowd": 0},
        {"id": 12, "image_id": 3, "category_id": 4, "bbox": [0, 0, 20, 11], "iscrowd": 1},
        {"id": 13, "image_id": 7, "category_id": 9, "bbox": [30, 20, 15, 10.5], "ignore": 1},
        {"id": 14, "image_id": 7, "category_id": 9, "bbox": [5, 5, 4, 0]},
    ],
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


def read(folder: Path, content: Any, images: Path, **how: Any) -> DetectionLabels:
    return read_annotations(write_json(folder / "boxes.json", content), images, **how)


def test_objects_are_read_as_the_file_has_them(tmp_path: Path, images: Path) -> None:
    labels = read(tmp_path, COCO, images)
    assert labels.names == ("c/d.png", "a.jpg", "b.png")
    assert labels.sizes == ((41, 30), (20, 11), (8, 9))
    assert labels.image_ids == (7, 3, 5)
    assert (labels.classes, labels.category_ids) == (("cat", "ant", "owl"), (2, 4, 9))
    first, second, third = labels.objects
    assert first.boxes.tolist() == [[0.5, 1.25, 10.5, 3.75], [30, 20, 41, 30], [5, 5, 9, 5]]
    assert first.labeled_boxes.tolist() == [[0.5, 1.25, 10, 2.5], [30, 20, 15, 10.5], [5, 5, 4, 0]]
    assert first.labels.tolist() == [1, 3, 3]
    assert first.area.tolist() == [20.5, 157.5, 0]
    assert first.difficult.tolist() == [False, True, False]
    assert first.trained.tolist() == [True, True, False]
    assert second.labels.tolist() == [3, 2]
    assert second.crowd.tolist() == [False, True]
    assert second.trained.tolist() == [True, False]
    assert len(third) == 0
    assert labels.occupied() == (0, 1)
    assert labels.skipped == ()
    assert not labels.has_masks


def test_a_box_beyond_every_edge_is_cut_for_training_and_compared_as_labeled(tmp_path: Path, images: Path) -> None:
    objects = read(tmp_path, changed(COCO, ["annotations", 0, "bbox"], [-3, -2.5, 26, 16]), images).objects[1]
    assert objects.boxes[0].tolist() == [0, 0, 20, 11]
    assert objects.labeled_boxes[0].tolist() == [-3, -2.5, 26, 16]
    assert objects.area[0] == 26 * 16


def test_what_is_cut_or_cannot_be_trained_on_is_noted(tmp_path: Path, images: Path) -> None:
    notes = read(tmp_path, COCO, images).notes
    assert notes == (
        "cut to the image for training: the box of annotation 13 in c/d.png",
        "left out of training for having no area: the box of annotation 14 in c/d.png",
    )
    rounding = changed(COCO, ["annotations", 3, "bbox"], [30, 20, 11.3, 10.4])
    assert len(read(tmp_path, rounding, images).notes) == 1


def test_images_without_objects_to_train_on_can_be_left_out(tmp_path: Path, images: Path) -> None:
    crowds_only = changed(COCO, ["annotations", 0, "iscrowd"], 1)
    assert read(tmp_path, crowds_only, images).occupied() == (0,)


def test_no_annotation_at_all_is_as_good_as_any(tmp_path: Path, images: Path) -> None:
    labels = read(tmp_path, changed(COCO, ["annotations"], []), images)
    assert [len(objects) for objects in labels.objects] == [0, 0, 0]
    assert [objects.boxes.shape for objects in labels.objects] == [(0, 4)] * 3


def test_classes_of_other_labels_keep_their_order_and_get_ids(tmp_path: Path, images: Path) -> None:
    labels = read(tmp_path, COCO, images, classes=["owl", "dog", "cat", "ant"])
    assert labels.classes == ("owl", "dog", "cat", "ant")
    assert labels.category_ids == (9, 10, 2, 4)
    assert labels.objects[0].labels.tolist() == [3, 1, 1]
    with pytest.raises(UserError, match=r"annotation 11 in c/d\.png is of the unknown class 'cat', the nearest known"):
        read(tmp_path, COCO, images, classes=["cab", "owl", "ant"])


PROBLEMS = [
    (["annotations", 0, "bbox"], None, "number 1 of its annotations lacks 'bbox'", 4),
    (["annotations", 0, "bbox"], [1, 2, 3], r"number 1 of its annotations is malformed \(its bbox is \[1, 2, 3\]\)", 4),
    (["annotations", 0, "bbox"], "1 2 3 4", r"\(its bbox is '1 2 3 4'\)\): .* bbox: left, top, width, height\); --", 4),
    (["annotations", 0, "bbox"], [1, 2, 3, "4 px"], "could not convert string to float: '4 px'", 4),
    (["annotations", 0, "bbox"], [1, 2, float("nan"), 4], r"annotation 0 in a.jpg has the box \[1, 2, nan, 4\]", 4),
    (["annotations", 0, "bbox"], [1, 2, -3, 4], "which is not valid", 4),
    (["annotations", 0, "bbox"], [20, 2, 3, 4], "lies outside of its 20 x 11 pixels", 4),
    (["annotations", 0, "bbox"], [1, -4, 3, 4], "lies outside of its 20 x 11 pixels", 4),
    (["annotations", 0, "area"], -1, "has the area -1", 4),
    (["annotations", 0, "category_id"], 1, "annotation 0 of image id 3 is of category 1, which is not defined", 4),
    (["annotations", 0, "category_id"], [], r"is of category '\[\]', which is not defined", 4),
    (["annotations", 0, "image_id"], 4, r"image id 4 has annotations \(1\) but is not among the images", 4),
    (["annotations", 0, "id"], 12, "annotation id 12 stands for several objects", 4),
    (["annotations", "+"], COCO["annotations"][1], "annotation id 11 is there more than once", 5),
    (["annotations", 0], 5, "number 1 of its annotations is malformed", 4),
    (["images", "+"], COCO["images"][0], "image id 7 is there more than once", 5),
    (["images", "+"], {"id": 3, "file_name": "b.png"}, "image id 3 stands for 2 images", 3),
    (["images", 1, "width"], "x", "a.jpg has the width 'x' and the height None", 3),
    (["images", 2, "file_name"], "e.png", "image id 5 names e.png, which is missing", 5),
    (["images", 2, "file_name"], "../b.png", "outside of the folder", 5),
    (["images", 2, "file_name"], "c/../a.jpg", "image id 3 and image id 5 give a.jpg different objects", 3),
    (["images", 2, "width"], 9, "image id 5 gives b.png 9 x 9 pixels, but the image has 8 x 9", 5),
    (["images", 2, "width"], 8.5, "b.png has the width 8.5", 5),
    (["images", 2, "id"], None, "number 3 of its images lacks 'id'", 5),
]


@pytest.mark.parametrize(("path", "value", "message", "left"), PROBLEMS)
def test_problems_are_refused_in_one_line_or_skipped(
    tmp_path: Path, images: Path, path: list[Any], value: Any, message: str, left: int
) -> None:
    content = changed(COCO, path, value)
    with pytest.raises(UserError, match=message) as refusal:
        read(tmp_path, content, images)
    assert "\n" not in str(refusal.value)
    assert "boxes.json has " in str(refusal.value)
    labels = read(tmp_path, content, images, problems="skip")
    assert sum(len(objects) for objects in labels.objects) == left
    assert len(labels.skipped) == 1


def test_the_first_of_two_objects_with_one_id_stays(tmp_path: Path, images: Path) -> None:
    labels = read(tmp_path, changed(COCO, ["annotations", 2, "id"], 0), images, problems="skip")
    assert labels.objects[1].labels.tolist() == [3]


def test_objects_need_no_id(tmp_path: Path, images: Path) -> None:
    content = copy.deepcopy(COCO)
    for annotation in content["annotations"]:
        del annotation["id"]
    assert read(tmp_path, content, images).fingerprint() == read(tmp_path, COCO, images).fingerprint()


def test_the_same_image_with_the_same_objects_twice_stays_once(tmp_path: Path, images: Path) -> None:
    content = changed(COCO, ["images", "+"], {"id": 6, "file_name": "b.png"})
    labels = read(tmp_path, content, images, problems="skip")
    assert labels.image_ids == (7, 3, 5)
    assert labels.skipped == ("image id 6 names b.png again, as image id 5 does",)


def test_sizes_are_those_of_the_upright_image(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=turned)
    content = {**COCO, "images": [{"id": 3, "file_name": "a.jpg", "width": 20, "height": 30}], "annotations": []}
    assert read(tmp_path, content, tmp_path).sizes == ((20, 30),)
    content["images"] = [{"id": 3, "file_name": "a.jpg", "width": 30, "height": 20}]
    with pytest.raises(UserError, match=r"30 x 20 pixels, but the image has 20 x 30.*EXIF orientation"):
        read(tmp_path, content, tmp_path)


def test_a_header_behind_much_else_is_found(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x9286] = "x" * 60_000
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif, comment=b"x" * 60_000)
    assert (tmp_path / "a.jpg").read_bytes().find(b"\xff\xc0") > 1 << 16
    content = {**COCO, "images": [{"id": 3, "file_name": "a.jpg"}], "annotations": []}
    assert read(tmp_path, content, tmp_path).sizes == ((30, 20),)


def test_an_unreadable_image_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    content = {**COCO, "images": [{"id": 3, "file_name": "a.jpg"}], "annotations": []}
    with pytest.raises(UserError, match=r"a.jpg, which cannot be read \(not an image of a known format\)"):
        read(tmp_path, content, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("boxes.json", "{", "is not a JSON file"),
        ("boxes.json", [{"image_id": 3, "bbox": [1, 2, 3, 4]}], "is malformed"),
        ("boxes.json", {"images": [], "annotations": []}, "lacks 'categories'"),
        ("boxes.json", {"images": [], "annotations": [], "categories": []}, "names no images"),
        ("boxes.json", {**COCO, "categories": [{"id": 1, "name": "a"}] * 2}, "category id 1 more than once"),
        ("boxes.json", {**COCO, "categories": [], "annotations": []}, "holds no object at all"),
        ("labels.csv", "image,labels\na.jpg,cat\n", "does not say where objects are.*detection needs a COCO"),
        ("train.txt", "a\n", "no folder Annotations"),
        ("dog_train.txt", "a 1\n", "one class"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, images: Path, name: str, content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        read_annotations(write_json(tmp_path / name, content), images)
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_missing_labels_and_odd_choices_are_refused(tmp_path: Path, images: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_annotations(tmp_path / "none.json", images)
    with pytest.raises(UserError, match="folder of images"):
        read(tmp_path, COCO, tmp_path / "none")
    unchecked: Any = inspect.unwrap(read_annotations)  # the tests' own type checks would refuse it first
    with pytest.raises(UserError, match="problems must be 'refuse' or 'skip', not 'hide'"):
        unchecked(tmp_path / "none.json", images, problems="hide")
    with pytest.raises(UserError, match="does not say where objects are"):
        read_annotations(images, images)


def test_any_change_shows_in_the_fingerprint(tmp_path: Path, images: Path) -> None:
    variants = [
        COCO,
        changed(COCO, ["annotations", 0, "bbox", 0], 1.5),
        changed(COCO, ["annotations", 0, "category_id"], 4),
        changed(COCO, ["annotations", 0, "iscrowd"], 1),
        changed(COCO, ["annotations", 0, "area"], 3),
        changed(COCO, ["annotations", 0, "difficult"], 1),
        changed(COCO, ["annotations", 3, "bbox", 2], 16),
        changed(COCO, ["annotations", 0, "image_id"], 5),
        changed(COCO, ["images", 2, "id"], 6),
        changed(COCO, ["categories", 0, "name"], "oil"),
    ]
    fingerprints = {read(tmp_path, variant, images).fingerprint() for variant in variants}
    assert len(fingerprints) == len(variants)
    assert read(tmp_path, COCO, images).fingerprint() == read(tmp_path, COCO, images).fingerprint()
