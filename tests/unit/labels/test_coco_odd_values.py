"""Ids, sizes and boxes of COCO files as tools write them: read alike by every reader, and written back as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyview.detection.dataset import DetectionData
from manyview.detection.metrics import coco_average_precision, voc_average_precision
from manyview.detection.metrics.results import read_results, write_results
from manyview.errors import UserError
from manyview.labels import read_annotations, read_labels
from manyview.labels.boxes import read_boxes
from manyview.labels.identifiers import Identifiers, as_identifier, next_number
from manyview.labels.masks import box_around, encode_mask
from manyview.labels.problems import Malformed
from tests.helpers.detections import SIZES, write_images, write_json

COCO: dict[str, Any] = {
    "categories": [{"id": 2, "name": "owl"}, {"id": 5, "name": "cat"}],
    "images": [{"id": 7, "file_name": "c/d.png"}, {"id": 3, "file_name": "a.jpg"}, {"id": 12, "file_name": "b.png"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 2, "bbox": [1, 2, 10, 12]},
        {"id": 2, "image_id": 3, "category_id": 5, "bbox": [3, 1, 9, 6]},
        {"id": 3, "image_id": 7, "category_id": 5, "bbox": [15, 3, 12, 20]},
    ],
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


def with_ids(change: Callable[[int], Any], parts: tuple[str, ...] = ("categories", "images", "annotations")) -> Any:
    content = copy.deepcopy(COCO)
    for part in parts:
        for entry in content[part]:
            for key in ("id", "image_id", "category_id"):
                if key in entry:
                    entry[key] = change(entry[key])
    return content


@pytest.mark.parametrize(
    ("content", "of_seven"),
    [
        (with_ids(str), "7"),
        (with_ids(lambda number: f"{number:012d}"), "000000000007"),
        (with_ids(lambda number: f"id-{number:x}"), "id-7"),
        (with_ids(float), 7),
        (with_ids(lambda number: number << 70), 7 << 70),
        (with_ids(lambda number: -number), -7),
        (with_ids(str, ("annotations",)), 7),  # text for numbers
        (with_ids(str, ("images", "categories")), "7"),
        (with_ids(lambda number: number if number != 7 else "seven"), "seven"),
    ],
)
def test_ids_are_opaque_keys_for_every_reader(tmp_path: Path, images: Path, content: Any, of_seven: Any) -> None:
    usual, file = write_json(tmp_path / "usual.json", COCO), write_json(tmp_path / "l.json", content)
    want, labels = read_annotations(usual, images), read_annotations(file, images)
    assert labels.image_ids[0] == of_seven
    assert type(labels.image_ids[0]) is type(of_seven)
    assert labels.names == want.names
    for name in ("owl", "cat"):
        shown = [
            [each.labeled_boxes[each.labels == found.classes.index(name) + 1].tolist() for each in found.objects]
            for found in (want, labels)
        ]
        assert shown[0] == shown[1]
    of_images, of_usual = read_labels(file, images), read_labels(usual, images)
    for name in ("owl", "cat"):
        columns = [found.targets[:, found.classes.index(name)].tolist() for found in (of_usual, of_images)]
        assert columns[0] == columns[1]
    np.testing.assert_array_equal(read_boxes(file, images).boxes, read_boxes(usual, images).boxes)


@pytest.mark.parametrize(
    "change",
    [
        str,
        lambda number: f"id-{number:x}",
        lambda number: number if number % 2 else f"x{number}",
        lambda number: number << 70,
    ],
)
def test_results_have_the_ids_of_the_labels(tmp_path: Path, images: Path, change: Callable[[int], Any]) -> None:
    figures = []
    for content in (COCO, with_ids(change)):
        labels = read_annotations(write_json(tmp_path / "l.json", content), images)
        ids = dict(zip(labels.names, labels.image_ids, strict=True))
        category = dict(zip(labels.classes, labels.category_ids, strict=True))
        results = [
            {"image_id": ids["c/d.png"], "category_id": category["owl"], "bbox": [1, 2, 10, 11], "score": 0.9},
            {"image_id": ids["a.jpg"], "category_id": category["cat"], "bbox": [9, 1, 9, 6], "score": 0.8},
            {"image_id": ids["c/d.png"], "category_id": category["cat"], "bbox": [15, 3, 12, 20], "score": 0.7},
        ]
        write_results(tmp_path / "r.json", results)
        assert read_results(tmp_path / "r.json", labels) == results
        measured = coco_average_precision(labels, results, ("bbox",))["box"], voc_average_precision(labels, results)
        by_class = [dict(zip(labels.classes, measured[0].pop("AP_by_class"), strict=True))]
        by_class.append(dict(zip(labels.classes, measured[1].pop("AP50_by_class"), strict=True)))
        figures.append((repr(measured), by_class))
    assert figures[0] == figures[1]


def test_what_is_no_id() -> None:
    values: list[Any] = [True, None, 1.5, float("nan"), float("inf"), [], {}, ""]
    for value in values:
        with pytest.raises(TypeError, match="neither a whole number nor text"):
            as_identifier(value)
    known = Identifiers([1, "1", 2, "x"])
    references: list[Any] = [1, "1", 1.0, "2", "x", "y", None, 3]
    assert [known.find(value) for value in references] == [
        1,
        "1",
        1,
        2,
        "x",
        None,
        None,
        None,
    ]
    assert next_number([3, "7", "x"]) == 8
    assert next_number(["x"]) == 1


def test_skipped_entries_are_named_where_nothing_is_left(tmp_path: Path, images: Path) -> None:
    content = with_ids(lambda number: None, ("annotations",))
    file = write_json(tmp_path / "l.json", content)
    with pytest.raises(
        UserError, match=r"3 entries with problems were skipped, the first being: number 1 of its annot"
    ):
        DetectionData.read((file, images), (file, images), masks=False, problems="skip")
    content = copy.deepcopy(COCO) | {"annotations": []}
    file = write_json(tmp_path / "l.json", content)
    with pytest.raises(UserError, match="no object to train on: no image has an annotation"):
        DetectionData.read((file, images), (file, images), masks=False)


@pytest.mark.parametrize("size", [(0, 0), (-1, -1), (None, None), ("", ""), (float("nan"), 9), (8, None), (0, 9)])
def test_unknown_sizes_are_measured(tmp_path: Path, images: Path, size: tuple[Any, Any]) -> None:
    content = copy.deepcopy(COCO)
    for entry in content["images"]:
        entry["width"], entry["height"] = size
    file = write_json(tmp_path / "l.json", content)
    assert read_annotations(file, images).sizes == tuple(SIZES.values())
    assert read_boxes(file, images).sizes.tolist() == [list(sides) for sides in SIZES.values()]


@pytest.mark.parametrize("form", [str, float, lambda side: f" {side}.0 "])
def test_sizes_in_other_notations(tmp_path: Path, images: Path, form: Callable[[int], Any]) -> None:
    content = copy.deepcopy(COCO)
    for entry in content["images"]:
        entry["width"], entry["height"] = map(form, SIZES[entry["file_name"]])
    file = write_json(tmp_path / "l.json", content)
    assert read_annotations(file, images).sizes == tuple(SIZES.values())
    assert read_boxes(file).sizes.tolist() == [list(sides) for sides in SIZES.values()]
    content["images"][0]["width"] = form(40)
    with pytest.raises(UserError, match="40 x 30 pixels, but the image has 41 x 30"):
        read_annotations(write_json(file, content), images)


@pytest.mark.parametrize("missing", [None, [], "key"])
def test_a_missing_box_is_the_smallest_around_the_segmentation(tmp_path: Path, images: Path, missing: Any) -> None:
    mask = np.zeros((30, 41), dtype=bool)
    mask[4:9, 3:17] = mask[12, 20] = True
    rle = encode_mask(mask)
    content = copy.deepcopy(COCO)
    segmentations = [
        [[1, 2, 11.5, 2, 11, 14], [5, 0.5, 6, 1, 6, 3]],
        [[3, 1, 12, 1, 12, 7, 3, 7]],
        {"size": rle["size"], "counts": rle["counts"].decode()},
    ]
    for entry, segmentation in zip(content["annotations"], segmentations, strict=True):
        entry["segmentation"], entry["bbox"] = segmentation, missing
        if missing == "key":
            del entry["bbox"]
    labels = read_annotations(write_json(tmp_path / "l.json", content), images)
    assert labels.objects[0].labeled_boxes.tolist() == [[1, 0.5, 10.5, 13.5], [3, 4, 18, 9]]
    assert labels.objects[1].labeled_boxes.tolist() == [[3, 1, 9, 6]]
    assert len(read_boxes(tmp_path / "l.json", images).boxes) == 3


def test_boxes_around_masks_are_those_of_the_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random(rng.integers(1, 7, 2)) < 0.2
        rle = encode_mask(mask)
        plain = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=False, append=False)), prepend=0)
        counts = [*plain.tolist(), mask.size - int(plain.sum())]
        for counted in (rle["counts"].decode(), counts):
            form = {"size": list(mask.shape), "counts": counted}
            if not mask.any():
                with pytest.raises(Malformed, match="without a pixel"):
                    box_around(form)
                continue
            rows, columns = np.nonzero(mask)
            want = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
            assert box_around(form) == tuple(map(float, want))
    for wrong in ({"size": [2, 2], "counts": [3]}, {"size": 4, "counts": [4]}, {"counts": [1]}, [[1, 2]], "x", [3]):
        with pytest.raises(Malformed):
            box_around(wrong)


@pytest.mark.parametrize("flag", [None, 0, "0", False, 0.0])
def test_flags_in_other_notations(tmp_path: Path, images: Path, flag: Any) -> None:
    content = copy.deepcopy(COCO)
    for entry in content["annotations"]:
        entry["iscrowd"] = flag
    assert read_annotations(write_json(tmp_path / "l.json", content), images).occupied() == (0, 1)
