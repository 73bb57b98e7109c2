from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from manyview.scenes.write import CocoInstances, run_lengths


@pytest.mark.parametrize(
    ("rows", "lengths"),
    [
        ([[0, 1], [1, 1]], [1, 3]),
        ([[1, 0], [0, 1]], [0, 1, 2, 1]),  # the first of none outside
        ([[0, 1, 0], [0, 1, 0]], [2, 2, 2]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 0], [0, 0]], [4]),
    ],
)
def test_run_lengths_go_down_the_columns(rows: list[list[int]], lengths: list[int]) -> None:
    assert run_lengths(np.array(rows, dtype=bool)) == lengths


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools itself
@pytest.mark.parametrize("seed", range(5))
def test_pycocotools_reads_run_lengths_as_the_same_pixels(seed: int) -> None:
    from pycocotools import mask as tools

    mask = np.random.default_rng(seed).random((7, 5)) < 0.4
    rle = tools.frPyObjects({"size": [7, 5], "counts": run_lengths(mask)}, 7, 5)
    np.testing.assert_array_equal(tools.decode(rle), mask)


def test_a_file_as_written_by_hand(tmp_path: Path) -> None:
    one, other = (np.zeros((4, 6), dtype=bool) for _ in range(2))
    one[1:3, 2] = one[2, 3] = True
    other[0, 0] = other[3, 5] = True
    instances = CocoInstances(["cat", "dog"])
    instances.add("a.png", (6, 4), [("dog", one), ("cat", other)])
    instances.add("b.png", (3, 3), [])
    instances.add("c.png", (6, 4), [("dog", other)])
    instances.write(tmp_path / "labels.json")
    parts = json.loads((tmp_path / "labels.json").read_text())
    assert parts["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert parts["images"] == [
        {"id": 1, "file_name": "a.png", "width": 6, "height": 4},
        {"id": 2, "file_name": "b.png", "width": 3, "height": 3},
        {"id": 3, "file_name": "c.png", "width": 6, "height": 4},
    ]
    all_over = {"bbox": [0, 0, 6, 4], "area": 2, "segmentation": {"size": [4, 6], "counts": [0, 1, 22, 1]}}
    segmentation = {"size": [4, 6], "counts": [9, 2, 3, 1, 9]}
    assert parts["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 2, "iscrowd": 0, "bbox": [2, 1, 2, 2], "area": 3}
        | {"segmentation": segmentation},
        {"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 0, **all_over},
        {"id": 3, "image_id": 3, "category_id": 2, "iscrowd": 0, **all_over},
    ]
