"""Boxes from COCO files: as they stand there, cut to their images, and every mistake reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from manyview.errors import UserError
from manyview.labels.boxes import join_boxes, read_boxes
from tests.helpers.json_files import changed

COCO: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "c/d.png", "width": 40, "height": 30},
        {"id": 3, "file_name": "a.jpg", "width": 20.0, "height": 10},
        {"id": 5, "file_name": "b.jpg", "width": 8, "height": 8},
    ],
    "annotations": [
        {"image_id": 3, "bbox": [1, 2, 3, 4]},
        {"image_id": 7, "bbox": [0.5, 1.25, 10, 2.5], "iscrowd": 0, "category_id": 1},
        {"image_id": 3, "bbox": [0, 0, 20, 10], "iscrowd": 1},
        {"image_id": 7, "bbox": [30, 20, 15, 10.5]},
    ],
}


def write(folder: Path, content: Any, name: str = "boxes.json") -> Path:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder / name


def test_boxes_of_each_image_follow_each_other_in_the_order_of_the_images(tmp_path: Path) -> None:
    boxes = read_boxes(write(tmp_path, COCO))
    assert boxes.names == ("c/d.png", "a.jpg", "b.jpg")
    assert boxes.sizes.tolist() == [[40, 30], [20, 10], [8, 8]]
    assert boxes.owners.tolist() == [0, 0, 1, 1]
    assert boxes.boxes.tolist() == [[0.5, 1.25, 10.5, 3.75], [30, 20, 40, 30], [1, 2, 4, 6], [0, 0, 20, 10]]
    assert boxes.crowds.tolist() == [False, False, False, True]


def test_crowds_can_be_left_out(tmp_path: Path) -> None:
    boxes = read_boxes(write(tmp_path, COCO)).without_crowds()
    assert boxes.names == ("c/d.png", "a.jpg", "b.jpg")
    assert boxes.boxes.tolist() == [[0.5, 1.25, 10.5, 3.75], [30, 20, 40, 30], [1, 2, 4, 6]]
    assert boxes.owners.tolist() == [0, 0, 1]


@pytest.mark.parametrize("box", [[5, 5, 0, 3], [5, 5, 3, 0], [0, 0, 0, 0], [20, 2, 0, 4]])
def test_boxes_without_area_are_left_out(tmp_path: Path, box: list[float]) -> None:
    boxes = read_boxes(write(tmp_path, changed(COCO, ["annotations", 0, "bbox"], box)))
    assert len(boxes.boxes) == len(boxes.owners) == len(boxes.crowds) == 3
    assert boxes.crowds.tolist() == [False, False, True]


def test_boxes_over_the_edge_are_cut(tmp_path: Path) -> None:
    boxes = read_boxes(write(tmp_path, changed(COCO, ["annotations", 0, "bbox"], [-3, 8, 5, 5])))
    assert boxes.boxes[2].tolist() == [0, 8, 2, 10]


def test_no_images_and_no_objects(tmp_path: Path) -> None:
    boxes = read_boxes(write(tmp_path, {"images": [], "annotations": []}))
    assert (len(boxes.names), boxes.sizes.shape, boxes.boxes.shape) == (0, (0, 2), (0, 4))
    assert read_boxes(write(tmp_path, COCO | {"annotations": []})).boxes.shape == (0, 4)


def test_sizes_that_the_file_does_not_state_are_those_of_the_images_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (10, 20)).save(tmp_path / "a.jpg", exif=exif)
    boxes = read_boxes(write(tmp_path, changed(COCO, ["images", 1, "width"], None)), tmp_path)
    assert boxes.sizes.tolist() == [[40, 30], [20, 10], [8, 8]]


def test_sizes_of_images_of_several_bands(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((10, 20, 5), dtype=np.uint16))
    content = changed(COCO, ["images", 1], {"id": 3, "file_name": "a.npy"})
    assert read_boxes(write(tmp_path, content), tmp_path, 5).sizes.tolist() == [[40, 30], [20, 10], [8, 8]]


def test_sizes_that_nobody_knows(tmp_path: Path) -> None:
    file = write(tmp_path, changed(COCO, ["images", 1, "height"], None))
    with pytest.raises(UserError, match=r"boxes\.json does not state the width and height of a\.jpg: add them"):
        read_boxes(file)
    with pytest.raises(UserError, match=r"does not state the width and height of a\.jpg, and .*a\.jpg: no such file"):
        read_boxes(file, tmp_path)
    for unknown in (0, -1, float("nan"), ""):
        file = write(tmp_path, changed(COCO, ["images", 1, "height"], unknown))
        with pytest.raises(UserError, match=r"boxes\.json does not state the width and height of a\.jpg: add them"):
            read_boxes(file)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (["images"], None, "lacks 'images'"),
        (["annotations"], None, "lacks 'annotations'"),
        (["annotations"], 3, "has annotations that are not a list"),
        (["annotations", 0], [1, 2], "is malformed"),
        (["images", 0, "id"], None, "lacks 'id'"),
        (["images", 0, "id"], "x", r"image id 7 has annotations \(2\) but is not among the images"),
        (["images", 0, "id"], [7], "is malformed"),
        (["images", 0, "file_name"], 7, "file_name is 7"),
        (["images", 0, "file_name"], None, "lacks 'file_name'"),
        (["annotations", 1, "bbox"], None, "lacks 'bbox'"),
        (["annotations", 1, "bbox"], [1, 2, 3], "is malformed"),
        (["annotations", 1, "bbox"], [1, 2, 3, "four"], "is malformed"),
        (["annotations", 1, "bbox"], {"x": 1}, "is malformed"),
        (["annotations", 1, "image_id"], None, "lacks 'image_id'"),
        (["annotations", 1, "image_id"], 8, r"image id 8 has annotations \(1\) but is not among the images"),
        (["annotations", 1, "bbox"], [1, 2, -3, 4], r"has the bbox \[1, 2, -3, 4\], which is not a valid box"),
        (
            ["annotations", 1, "bbox"],
            [1, float("nan"), 3, 4],
            r"has the bbox \[1, nan, 3, 4\], which is not a valid box",
        ),
        (["annotations", 1, "bbox"], [1, 2, float("inf"), 4], "which is not a valid box"),
        (["annotations", 0, "bbox"], [20, 2, 5, 5], r"\[20, 2, 5, 5\], which lies outside of its image of 20 x 10 pix"),
        (["annotations", 0, "bbox"], [2, -9, 5, 5], "which lies outside of its image"),
        (["images", 0, "height"], 2.5, "c/d.png has the width 40 and the height 2.5"),
        (["images", 0, "height"], float("inf"), "c/d.png has the width 40 and the height inf"),
        (["images", 0, "height"], 2**31, "c/d.png has the width 40 and the height 2147483648"),
        (["images", 0, "height"], 1e300, r"c/d.png has the width 40 and the height 1e\+300"),
        (["images", 0, "height"], 10**400, "a whole number of more than 300 digits"),
        (["images", 0, "height"], "1e400", "c/d.png has the width 40 and the height '1e400'"),
        (["annotations", 0, "bbox"], [1, 2, 10**400, 4], "a whole number of more than 300 digits"),
        (["annotations", 0, "bbox"], [1e308, 2, 1e308, 4], "which lies outside of its image"),
        (["images", 0, "height"], "thirty", "c/d.png has the width 40 and the height 'thirty'"),
        (["images", 0, "id"], 5, "image id 5 stands for 2 images"),
        (["images", 0, "file_name"], "a.jpg", "has the image a.jpg more than once"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, path: list[Any], value: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        read_boxes(write(tmp_path, changed(COCO, path, value)), tmp_path)
    assert str(tmp_path / "boxes.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "[" * 100_000])
def test_files_that_are_something_else(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"boxes\.json (is not a JSON file|is malformed)"):
        read_boxes(write(tmp_path, content))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the labels .* does not exist"):
        read_boxes(tmp_path / "nix.json")


def test_several_files_as_one(tmp_path: Path) -> None:
    other = {
        "images": [{"id": 7, "file_name": "e.jpg", "width": 4, "height": 5}],
        "annotations": [{"image_id": 7, "bbox": [0, 0, 1, 1], "iscrowd": 1}],
    }
    first, second = read_boxes(write(tmp_path, COCO)), read_boxes(write(tmp_path, other, "other.json"))
    both = join_boxes([first, second])
    assert both.names == ("c/d.png", "a.jpg", "b.jpg", "e.jpg")
    assert both.sizes.tolist() == [[40, 30], [20, 10], [8, 8], [4, 5]]
    assert both.owners.tolist() == [0, 0, 1, 1, 3]
    assert both.boxes[-1].tolist() == [0, 0, 1, 1]
    assert both.crowds.tolist() == [False, False, False, True, True]
    with pytest.raises(UserError, match=r"the label files have the image c/d\.png more than once"):
        join_boxes([first, first])
