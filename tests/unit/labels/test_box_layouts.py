"""Boxes that are not what their format means: shares, corners, centers; and those that only look like it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyview.errors import UserError
from manyview.labels import read_annotations
from manyview.labels.boxes import read_boxes
from tests.helpers.detections import write_images, write_json

SIZES = {f"{index}.png": (60 + 7 * index, 90 - 5 * index) for index in range(6)}
Convert = Callable[[float, float, float, float, int, int], list[float]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), SIZES)


def boxes(count: int = 4) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Left, top, width, height of objects within each image."""
    rng, found = np.random.default_rng(0), []
    for name, (width, height) in SIZES.items():
        for _ in range(count):
            x, y = np.sort(rng.uniform(0, width, 2)), np.sort(rng.uniform(0, height, 2))
            found.append((name, (float(x[0]), float(y[0]), float(x[1] - x[0]), float(y[1] - y[0]))))
    return found


def as_coco(file: Path, convert: Convert, *, areas: bool = False, count: int = 4) -> Path:
    names = list(SIZES)
    annotations: list[dict[str, Any]] = []
    for name, box in boxes(count):
        area = {"area": box[2] * box[3]} if areas else {}
        annotations.append(
            {"image_id": names.index(name), "category_id": 0, "bbox": convert(*box, *SIZES[name]), **area}
        )
    content = {
        "categories": [{"id": 0, "name": "owl"}],
        "images": [
            {"id": index, "file_name": name, "width": SIZES[name][0], "height": SIZES[name][1]}
            for index, name in enumerate(names)
        ],
        "annotations": annotations,
    }
    return write_json(file, content)


def as_yolo(folder: Path, convert: Convert) -> Path:
    folder.mkdir()
    for name, box in boxes():
        numbers = " ".join(f"{value:.6f}" for value in convert(*box, *SIZES[name]))
        with (folder / name).with_suffix(".txt").open("a") as file:
            file.write(f"0 {numbers}\n")
    return folder


def as_voc(folder: Path, convert: Convert) -> Path:
    folder.mkdir()
    for name in SIZES:
        objects = ""
        for other, box in boxes():
            if other == name:
                numbers = zip(("xmin", "ymin", "xmax", "ymax"), convert(*box, *SIZES[name]), strict=True)
                corners = "".join(f"<{corner}>{value}</{corner}>" for corner, value in numbers)
                objects += f"<object><name>owl</name><bndbox>{corners}</bndbox></object>"
        (folder / name).with_suffix(".xml").write_text(f"<annotation>{objects}</annotation>")
    return folder


COCO: dict[str, tuple[Convert, str]] = {
    "shares": (lambda x, y, w, h, across, down: [x / across, y / down, w / across, h / down], "as shares of the image"),
    "corners": (lambda x, y, w, h, across, down: [x, y, x + w, y + h], "as left, top, right, bottom"),
    "centers": (lambda x, y, w, h, across, down: [x + w / 2, y + h / 2, w, h], "as center x, center y, width, height"),
    "corners in shares": (
        lambda x, y, w, h, across, down: [x / across, y / down, (x + w) / across, (y + h) / down],
        "as shares",
    ),
    "centers in shares": (
        lambda x, y, w, h, across, down: [(x + w / 2) / across, (y + h / 2) / down, w / across, h / down],
        "as shares",
    ),
}


@pytest.mark.parametrize("what", COCO)
@pytest.mark.parametrize("problems", ["refuse", "skip"])
def test_coco_boxes_of_another_layout_are_refused(tmp_path: Path, images: Path, what: str, problems: Any) -> None:
    convert, words = COCO[what]
    file = as_coco(tmp_path / "l.json", convert)
    with pytest.raises(UserError, match=words) as refused:
        read_annotations(file, images, problems=problems)
    assert str(file) in str(refused.value)
    with pytest.raises(UserError, match=words):
        read_boxes(file, images)


def test_coco_boxes_as_they_should_be_are_read(tmp_path: Path, images: Path) -> None:
    file = as_coco(tmp_path / "l.json", lambda x, y, w, h, across, down: [x, y, w, h], areas=True)
    labels = read_annotations(file, images)
    want: dict[str, list[list[float]]] = {name: [] for name in SIZES}
    for name, box in boxes():
        want[name].append(list(box))
    for name, objects in zip(labels.names, labels.objects, strict=True):
        np.testing.assert_allclose(objects.labeled_boxes, want[name])
    assert len(read_boxes(file).boxes) == 24


def test_areas_tell_corners_that_stay_within_the_image(tmp_path: Path, images: Path) -> None:
    def small(x: float, y: float, w: float, h: float, width: int, height: int) -> list[float]:
        return [x / 4, y / 4, (x + w) / 4, (y + h) / 4]

    file = as_coco(tmp_path / "l.json", small)
    assert len(read_annotations(file, images)) == 6  # nothing tells
    data = json.loads(file.read_text())
    for annotation in data["annotations"]:
        left, top, right, bottom = annotation["bbox"]
        annotation["area"] = (right - left) * (bottom - top)
    with pytest.raises(UserError, match="as left, top, right, bottom"):
        read_annotations(write_json(file, data), images)


def test_a_faulty_box_does_not_hide_the_others(tmp_path: Path, images: Path) -> None:
    file = as_coco(tmp_path / "l.json", COCO["corners"][0], count=20)
    content = json.loads(file.read_text())
    content["annotations"][3]["bbox"][2] = content["annotations"][3]["bbox"][0]  # without width
    with pytest.raises(UserError, match="as left, top, right, bottom"):
        read_annotations(write_json(file, content), images)


def test_a_few_boxes_over_the_edge_are_no_evidence(tmp_path: Path, images: Path) -> None:
    """All boxes lie around the middle, so that they fit as corners, too; some are drawn over the edge by a little."""
    file = as_coco(
        tmp_path / "l.json", lambda x, y, w, h, across, down: [across * 0.2, down * 0.2, across * 0.83, down * 0.5]
    )
    assert len(read_annotations(file, images).notes) == 1
    one = as_coco(tmp_path / "l.json", lambda x, y, w, h, across, down: [0, 0, 1, 1])
    assert len(read_annotations(one, images)) == 6  # whole pixels


@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (
            lambda x, y, w, h, across, down: [x / across, y / down, (x + w) / across, (y + h) / down],
            "as left, top, right, bottom",
        ),
        (lambda x, y, w, h, across, down: [x / across, y / down, w / across, h / down], "as left, top, width, height"),
    ],
)
def test_yolo_boxes_of_another_layout_are_refused(tmp_path: Path, images: Path, convert: Convert, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_annotations(as_yolo(tmp_path / "labels", convert), images)
    right = as_yolo(
        tmp_path / "right",
        lambda x, y, w, h, across, down: [(x + w / 2) / across, (y + h / 2) / down, w / across, h / down],
    )
    assert len(read_annotations(right, images)) == 6


def test_voc_boxes_in_shares_are_refused(tmp_path: Path, images: Path) -> None:
    with pytest.raises(UserError, match="as shares of the image"):
        read_annotations(
            as_voc(
                tmp_path / "xml",
                lambda x, y, w, h, across, down: [x / across, y / down, (x + w) / across, (y + h) / down],
            ),
            images,
        )
    right = as_voc(tmp_path / "right", lambda x, y, w, h, across, down: [x + 1, y + 1, x + w, y + h])
    assert len(read_annotations(right, images, problems="skip")) == 6
