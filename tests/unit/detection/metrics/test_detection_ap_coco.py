"""COCO's average precision: worked out by hand, and as pycocotools gives it for the same two files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from pycocotools import mask as tools
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from manyview.detection.metrics import coco_average_precision, read_results
from manyview.errors import UserError
from manyview.labels import encode_mask, read_annotations
from tests.helpers.detections import labels_of, write_images, write_json

SIZES = {f"{place}.png": (200 + place, 150) for place in range(12)}
SUMMARY = ["AP", "AP50", "AP75", "APs", "APm", "APl"]


def result(image: int, box: list[float], score: float, category: int = 7) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def test_a_case_worked_out_by_hand() -> None:
    labels = labels_of([[[0, 0, 100, 100]], [[50, 50, 100, 100]]], [[1], [1]], classes=2)
    results = [
        result(100, [0, 0, 100, 100], 0.9),  # right at every IoU
        result(100, [110, 110, 50, 50], 0.8),  # wrong
        result(103, [50, 50, 100, 62], 0.7),  # IoU .62: right at .5, .55 and .6
    ]
    # Precision is 1 up to recall .5, which are 51 of COCO's 101 points. At the three lower IoUs it is 2/3 at the other
    # 50, at the seven higher ones there are no others.
    low, high = (51 + 50 * 2 / 3) / 101, 51 / 101
    ap = coco_average_precision(labels, results, kinds=["bbox"])
    assert list(ap) == ["box"]
    assert ap["box"]["AP"] == pytest.approx((3 * low + 7 * high) / 10, abs=1e-12)
    assert ap["box"]["AP50"] == pytest.approx(low, abs=1e-12)
    assert ap["box"]["AP75"] == pytest.approx(high, abs=1e-12)
    # Both objects are above 96 x 96 pixels, the wrong results below: among large objects they are not counted.
    assert ap["box"]["APl"] == pytest.approx((3 * 1 + 7 * high) / 10, abs=1e-12)
    assert np.isnan([ap["box"]["APs"], ap["box"]["APm"], ap["box"]["AP_by_class"][1]]).all()
    assert ap["box"]["AP_by_class"][0] == ap["box"]["AP"]


def test_nothing_found_is_worth_nothing() -> None:
    labels = labels_of([[[0, 0, 100, 100]]], [[1]], classes=2)
    nothing = coco_average_precision(labels, [], kinds=["bbox"])["box"]
    assert (nothing["AP"], nothing["AP_by_class"][0]) == (0, 0)
    assert np.isnan(nothing["AP_by_class"][1])


def test_of_images_without_objects_nothing_can_be_said() -> None:
    labels = labels_of([[], []], [[], []])
    assert np.isnan(coco_average_precision(labels, [result(100, [0, 0, 9, 9], 1)], kinds=["bbox"])["box"]["AP"])


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong() -> None:
    labels = labels_of([[[0, 0, 10, 10], [50, 50, 100, 100]]], [[1, 1]], crowd=[[False, True]])
    results = [result(100, [60, 60, 20, 20], 0.9), result(100, [90, 90, 20, 20], 0.8), result(100, [0, 0, 10, 10], 0.7)]
    assert coco_average_precision(labels, results, kinds=["bbox"])["box"]["AP"] == pytest.approx(1)


def random_files(folder: Path, seed: int) -> tuple[Path, Path]:
    """Labels and results with ties, crowds, boxes beyond their image or without area, and empty images."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image, (width, height) in enumerate(SIZES.values()):
        for _ in range(rng.integers(0, 7) if image else 0):
            box = [float(value) for value in rng.uniform((0, 0, 8, 8), (150, 100, 180, 130)).round(2)]
            box[3] *= rng.random() > 0.05
            category = int(rng.choice([3, 5, 8]))
            pixels = np.zeros((height, width), dtype=bool)
            pixels[int(box[1]) : int(box[1] + box[3]), int(box[0]) : int(box[0] + box[2])] = True
            mask = encode_mask(pixels)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": 40 - image, "category_id": category, "bbox": box}
                | {"iscrowd": int(rng.random() < 0.15), "area": float(rng.uniform(0.8, 1) * box[2] * box[3])}
                | {"segmentation": {"size": mask["size"], "counts": mask["counts"].decode()}}
            )
            for _ in range(rng.integers(0, 4)):
                found = (np.array(box) + rng.normal(0, 4, 4)).clip(0.5).tolist()
                category = category if rng.random() < 0.8 else int(rng.choice([3, 5, 8]))
                entry = {"image_id": 40 - image, "category_id": category, "score": float(rng.integers(1, 20) / 20)}
                shifted = encode_mask(np.roll(pixels, rng.integers(-4, 5, 2), (0, 1)))
                rle = {"size": shifted["size"], "counts": shifted["counts"].decode()}
                results.append({**entry, "bbox": found, "segmentation": rle})
    content = {
        "categories": [{"id": number, "name": name} for number, name in ((8, "ant"), (3, "cat"), (5, "owl"), (6, "x"))],
        "images": [
            {"id": 40 - image, "file_name": name, "width": size[0], "height": size[1]}
            for image, (name, size) in enumerate(SIZES.items())
        ],
        "annotations": annotations,
    }
    return write_json(folder / "labels.json", content), write_json(folder / "results.json", results)


def by_pycocotools(labels: Path, results: Path, kind: str) -> tuple[list[float], list[float]]:
    """Its summary, and the mean of the precision of each category in the order of their ids."""
    truth = COCO(str(labels))
    evaluation = COCOeval(truth, truth.loadRes(str(results)), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    precision = evaluation.eval["precision"][..., 0, 2]
    means = [float(np.mean(precision[:, :, place])) for place in range(precision.shape[2])]
    return [float(value) for value in evaluation.stats[:6]], means


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), SIZES)


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_pycocotools_for_the_same_files(tmp_path: Path, images: Path, seed: int) -> None:
    labels_file, results_file = random_files(tmp_path, seed)
    labels = read_annotations(labels_file, images, masks=True)
    results = read_results(results_file, labels)
    before = json.dumps(results, default=str)
    ap = coco_average_precision(labels, results)
    assert json.dumps(results, default=str) == before
    entries = json.loads(results_file.read_text())
    masks_only = [{key: value for key, value in entry.items() if key != "bbox"} for entry in entries]
    masks_file = write_json(tmp_path / "masks.json", masks_only)
    for name, kind, file in (("box", "bbox", results_file), ("mask", "segm", masks_file)):
        summary, by_class = by_pycocotools(labels_file, file, kind)
        assert [ap[name][key] for key in SUMMARY] == summary
        assert 0.1 < summary[0] < summary[1] < 0.95
        assert min(summary) >= 0
        assert labels.classes == ("cat", "owl", "x", "ant")
        assert ap[name]["AP_by_class"] == pytest.approx([*by_class[:2], np.nan, by_class[3]], abs=1e-12, nan_ok=True)
    reordered = read_annotations(labels_file, images, classes=["x", "ant", "owl", "cat"], masks=True)
    again = coco_average_precision(reordered, results)["box"]
    assert again["AP"] == pytest.approx(ap["box"]["AP"], abs=1e-12)
    for key, mean in (("AP_by_class", "AP"), ("AP50_by_class", "AP50")):
        in_order = [again[key][reordered.classes.index(name)] for name in labels.classes]
        assert in_order == pytest.approx(ap["box"][key], abs=1e-12, nan_ok=True)
        assert np.nanmean(in_order) == pytest.approx(ap["box"][mean], abs=1e-12)


def test_boxes_need_no_masks_and_masks_no_boxes(tmp_path: Path, images: Path) -> None:
    labels_file, results_file = random_files(tmp_path, 5)
    with_masks = read_annotations(labels_file, images, masks=True)
    without = read_annotations(labels_file, images)
    results = read_results(results_file, with_masks)
    both = coco_average_precision(with_masks, results)
    assert str(coco_average_precision(without, results, kinds=["bbox"])["box"]) == str(both["box"])
    masks = [{key: value for key, value in entry.items() if key != "bbox"} for entry in results]
    mixed = coco_average_precision(with_masks, masks)
    assert mixed["mask"]["AP"] == both["mask"]["AP"]
    assert mixed["box"]["AP"] == 0


def test_an_object_whose_id_is_0_can_be_found(tmp_path: Path, images: Path) -> None:
    """pycocotools takes the id 0 for "matched with none", so that the very best result counts as wrong."""
    content = {
        "categories": [{"id": 7, "name": "cat"}],
        "images": [{"id": 1, "file_name": "0.png", "width": 200, "height": 150}],
        "annotations": [{"id": 0, "image_id": 1, "category_id": 7, "bbox": [1, 1, 50, 50], "area": 2500, "iscrowd": 0}],
    }
    labels_file = write_json(tmp_path / "labels.json", content)
    results_file = write_json(tmp_path / "results.json", [result(1, [1, 1, 50, 50], 0.9)])
    labels = read_annotations(labels_file, images)
    assert coco_average_precision(labels, read_results(results_file, labels), ["bbox"])["box"]["AP"] == pytest.approx(1)
    assert by_pycocotools(labels_file, results_file, "bbox")[0][0] == 0


def test_it_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    coco_average_precision(labels_of([[[0, 0, 9, 9]]], [[1]]), [result(100, [0, 0, 9, 9], 1)], ["bbox"])
    assert capsys.readouterr() == ("", "")


def test_polygons_are_compared_as_pycocotools_compares_them(tmp_path: Path, images: Path) -> None:
    """A polygon's mask by hand: 20 x 10 pixels, of which the result covers 15 x 10, an IoU of .75."""
    content = {
        "categories": [{"id": 7, "name": "cat"}],
        "images": [{"id": 1, "file_name": "0.png"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": [4, 6, 20, 10]}
            | {"segmentation": [[4, 6, 24, 6, 24, 16, 4, 16]]}
        ],
    }
    labels = read_annotations(write_json(tmp_path / "labels.json", content), images, masks=True)
    assert labels.objects[0].area.tolist() == [200]
    pixels = np.zeros((150, 200), dtype=np.uint8, order="F")
    pixels[6:16, 4:19] = 1
    found = {"image_id": 1, "category_id": 7, "score": 0.5, "segmentation": cast(Any, tools.encode(pixels))}
    ap = coco_average_precision(labels, [found], ["segm"])["mask"]
    assert ap["AP"] == pytest.approx(6 / 10)  # right at .5, .55, .6, .65, .7 and .75
    assert ap["APs"] == ap["AP"]


def test_without_pycocotools_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pycocotools", "pycocotools.mask", "pycocotools.coco", "pycocotools.cocoeval"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"pip install 'manyview\[detect\]'"):
        coco_average_precision(labels_of([[]], [[]]), [], ["bbox"])
    with pytest.raises(UserError, match=r"pip install 'manyview\[detect\]'"):
        encode_mask(np.zeros((2, 2), dtype=bool))
