"""COCO's result files: written and read again, and every mistake reported."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from manyview.detection.metrics import read_results, to_coco_results, write_results
from manyview.errors import UserError
from manyview.labels import decode_masks
from tests.helpers.detections import labels_of, write_json

LABELS = labels_of([[], []], [[], []], classes=3, size=(16, 8))  # image ids 100 and 103, category ids 7, 9 and 11
SIZES = LABELS.sizes
GOOD: dict[str, Any] = {"image_id": 103, "category_id": 9, "bbox": [1, 2, 3, 4.5], "score": 0.25}


def outputs(masks: torch.Tensor | None) -> list[dict[str, torch.Tensor]]:
    """What torchvision's detectors give for two images, the second without objects."""
    both = [
        {
            "boxes": torch.tensor([[1.5, 2, 4, 7], [0, 0, 16, 8]]),
            "labels": torch.tensor([3, 1]),
            "scores": torch.tensor([0.75, 0.1]),
        },
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)},
    ]
    if masks is not None:
        both[0]["box_masks"], both[1]["box_masks"] = masks, masks[:0]
    return both


def test_outputs_become_results() -> None:
    results = to_coco_results(outputs(None), (100, 103), (7, 9, 11), SIZES)
    assert results == [
        {"image_id": 100, "category_id": 11, "bbox": [1.5, 2, 2.5, 5], "score": 0.75},
        {"image_id": 100, "category_id": 7, "bbox": [0, 0, 16, 8], "score": float(torch.tensor(0.1))},
    ]


def test_masks_make_the_round_trip_through_the_file(tmp_path: Path) -> None:
    """The second box is the whole image, and a cell of its mask two pixels across and one down."""
    probabilities = torch.full((2, 8, 8), 0.1)
    probabilities[1, 2:5, 1:6] = 0.8
    results = to_coco_results(outputs(probabilities), (100, 103), (7, 9, 11), SIZES)
    write_results(tmp_path / "results.json", results)
    read = read_results(tmp_path / "results.json", LABELS)
    masks = decode_masks([entry["segmentation"] for entry in read], 16, 8)
    expected = np.zeros((2, 8, 16), dtype=np.uint8)
    expected[1, 2:5, 2:12] = 1
    assert masks.tolist() == expected.tolist()
    assert [entry["bbox"] for entry in read] == [entry["bbox"] for entry in results]
    assert [entry["score"] for entry in read] == [entry["score"] for entry in results]
    sure = to_coco_results(outputs(probabilities), (100, 103), (7, 9, 11), SIZES, mask_threshold=0.81)
    assert not decode_masks([entry["segmentation"] for entry in sure], 16, 8).any()


def test_a_file_without_results_is_one_too(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", [])
    assert json.loads((tmp_path / "results.json").read_text()) == []
    assert read_results(tmp_path / "results.json", LABELS) == []


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", [GOOD])
    with pytest.raises(ValueError):
        write_results(tmp_path / "results.json", [GOOD, {**GOOD, "score": math.nan}])
    assert read_results(tmp_path / "results.json", LABELS) == [GOOD]


def test_results_of_other_categories_are_left_out(tmp_path: Path) -> None:
    file = write_json(tmp_path / "results.json", [GOOD, {**GOOD, "category_id": 8}])
    assert read_results(file, LABELS) == [GOOD]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a JSON file"),
        ({"annotations": []}, "is no list: COCO's results are a list"),
        ([GOOD, 3], "entry 2 of .* is no object"),
        ([{**GOOD, "image_id": 5}], "entry 1 of .* is for the image id 5, which the labels do not have"),
        ([{**GOOD, "score": math.nan}], "a score that is no number"),
        ([{**GOOD, "bbox": [1, 2, 3]}], "a bbox that is none"),
        ([{**GOOD, "bbox": [1, 2, 3, -1]}], "a bbox that is none"),
        ([{"image_id": 103, "category_id": 9, "score": 1}], "lacks 'bbox'"),
        ([{"image_id": 103, "category_id": 9, "bbox": [1, 2, 3, 4]}], "lacks 'score'"),
        ([{**GOOD, "segmentation": {"size": [8, 11], "counts": "PP2"}}], "has a mask of height and width"),
        ([{**GOOD, "segmentation": {"size": [8, 16], "counts": "11"}}], "do not add up to 16 x 8 pixels"),
    ],
)
def test_a_file_that_holds_none_is_refused_in_one_line(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        read_results(write_json(tmp_path / "results.json", content), LABELS)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"results .* does not exist"):
        read_results(tmp_path / "results.json", LABELS)
