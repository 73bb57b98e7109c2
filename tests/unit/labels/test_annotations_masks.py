"""Masks in each of COCO's forms: the pixels that pycocotools gives them, and nothing that would break it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as tools
from pycocotools.coco import COCO

from manyview.errors import UserError
from manyview.labels import decode_masks, encode_mask, read_annotations
from manyview.labels.masks import box_around, mask_areas, to_rle
from manyview.labels.problems import Malformed
from tests.helpers.detections import write_images, write_json

WIDTH, HEIGHT = 41, 30


def random_mask(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.random((6, 9)) < rng.random()
    return np.kron(coarse, np.ones((5, 5), dtype=bool))[:HEIGHT, :WIDTH]


def plain(mask: np.ndarray) -> dict[str, Any]:
    """Plain run lengths, counted by hand down the columns."""
    counts, last, run = [], False, 0
    for value in mask.T.ravel():
        if value != last:
            counts.append(run)
            last, run = value, 0
        run += 1
    return {"size": [HEIGHT, WIDTH], "counts": [*counts, run]}


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_make_the_round_trip(seed: int) -> None:
    mask = random_mask(seed)
    encoded = encode_mask(mask)
    text = {"size": encoded["size"], "counts": encoded["counts"].decode()}
    for form in (plain(mask), text, dict(encoded)):
        rle = to_rle(form, WIDTH, HEIGHT)
        assert rle == encoded
        assert np.array_equal(decode_masks([rle], WIDTH, HEIGHT)[0], mask)


def test_the_emptiest_and_the_fullest_mask_make_the_round_trip() -> None:
    for mask in (np.zeros((HEIGHT, WIDTH), dtype=bool), np.ones((HEIGHT, WIDTH), dtype=bool)):
        rle = to_rle(plain(mask), WIDTH, HEIGHT)
        assert np.array_equal(decode_masks([rle, rle], WIDTH, HEIGHT), [mask, mask])
    assert decode_masks([], WIDTH, HEIGHT).shape == (0, HEIGHT, WIDTH)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_every_form_in_a_file_is_as_pycocotools_has_it(tmp_path: Path) -> None:
    mask = random_mask(3)
    encoded = encode_mask(mask)
    forms = [
        [[1, 1, 20.5, 2, 18, 25.25]],
        [[1, 1, 20.5, 2, 18, 25.25], [30, 3, 60, 3, 60, 20, 30, 20]],
        [[2, 2, 9, 2, 9, 9], [1, 1, 3, 3]],
        plain(mask),
        {"size": encoded["size"], "counts": encoded["counts"].decode()},
    ]
    content = {
        "categories": [{"id": 1, "name": "cat"}],
        "images": [{"id": 3, "file_name": "c/d.png", "width": WIDTH, "height": HEIGHT}],
        "annotations": [
            {"id": place, "image_id": 3, "category_id": 1, "bbox": [0, 0, 9, 9], "segmentation": form}
            for place, form in enumerate(forms)
        ],
    }
    file = write_json(tmp_path / "masks.json", content)
    labels = read_annotations(file, write_images(tmp_path / "images"), masks=True)
    assert labels.has_masks
    objects = labels.objects[0]
    coco = COCO(str(file))
    expected = [coco.annToMask(coco.anns[place]) for place in range(len(forms))]
    assert objects.segmentations is not None
    assert np.array_equal(decode_masks(objects.segmentations, WIDTH, HEIGHT), expected)
    assert objects.area.tolist() == [mask.sum() for mask in expected]
    assert np.array_equal(expected[3], mask)
    boxes = labels.without_masks()
    assert not boxes.has_masks
    assert (boxes.names, boxes.objects[0].area.tolist()) == (labels.names, objects.area.tolist())
    changed = write_json(tmp_path / "changed.json", {**content, "annotations": content["annotations"][1:]})
    assert read_annotations(changed, tmp_path / "images", masks=True).fingerprint() != labels.fingerprint()


def test_a_polygon_covers_the_pixels_inside_of_it() -> None:
    rle = to_rle([[2, 3, 7, 3, 7, 5, 2, 5]], 10, 8)
    mask = np.zeros((8, 10), dtype=bool)
    mask[3:5, 2:7] = True
    assert np.array_equal(decode_masks([rle], 10, 8)[0], mask)


def test_sizes_may_have_a_decimal_point() -> None:
    plain = {"size": [5, 4], "counts": [7, 2, 11]}
    assert to_rle({**plain, "size": [5.0, 4.0]}, 4, 5) == to_rle(plain, 4, 5)
    assert box_around({**plain, "size": [5.0, 4.0]}) == box_around(plain) == (1, 2, 1, 2)
    for size in ([5.5, 4], [-5, -4], ["5", "4"], [None, 4], [float("nan"), 4], 20, [5, 4, 1]):
        with pytest.raises(Malformed, match="two whole numbers from 1"):
            box_around({**plain, "size": size})


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (None, "neither polygons nor run lengths"),
        ({"counts": [3]}, "neither polygons nor run lengths"),
        ([], "no polygon of at least three corners"),
        ([[1, 1, 3, 3]], "no polygon of at least three corners"),
        ([1, 1, 3, 3, 5, 1], "not a list of x and y"),
        ([[1, 1, 3, 3, 5]], "not a list of x and y"),
        ([[1, 1, 3, 3, 5, "a"]], "not a number"),
        ([[1, 1, 3, 3, 5, float("inf")]], "not a number"),
        ([[0, 0, 1e12, 1, 2, 2]], "reaches far beyond its image"),
        ({"size": [4, 5], "counts": [20]}, r"height and width \[4, 5\], where the image has \[5, 4\]"),
        ({"size": [5, 4], "counts": [3, 4]}, "do not add up to 4 x 5 pixels"),
        ({"size": [5, 4], "counts": [30, -10]}, "do not add up"),
        ({"size": [5, 4], "counts": [3.5, 16.5]}, "do not add up"),
        ({"size": [5, 4], "counts": ""}, "do not add up"),
        ({"size": [5, 4], "counts": "11"}, "do not add up"),
        ({"size": [5, 4], "counts": "d"}, "break off"),
        ({"size": [5, 4], "counts": "é"}, "compressed run lengths that are not valid"),
        ({"size": [5, 4], "counts": 20}, "compressed run lengths that are not valid"),
    ],
)
def test_what_is_not_a_mask_is_reported_before_pycocotools_reads_it(form: Any, message: str) -> None:
    with pytest.raises(Malformed, match=message):
        to_rle(form, 4, 5)


def test_a_wanted_mask_must_be_there(tmp_path: Path) -> None:
    annotation: dict[str, Any] = {"id": 5, "image_id": 3, "category_id": 1, "bbox": [0, 0, 9, 9]}
    content: dict[str, Any] = {
        "categories": [{"id": 1, "name": "cat"}],
        "images": [{"id": 3, "file_name": "c/d.png"}],
        "annotations": [annotation],
    }
    images = write_images(tmp_path / "images")
    assert not read_annotations(write_json(tmp_path / "a.json", content), images).has_masks
    with pytest.raises(
        UserError, match=r"a\.json has boxes, but no outlines, .*: leave out --masks .*\(segmentation: "
    ):
        read_annotations(tmp_path / "a.json", images, masks=True)
    content["annotations"].insert(0, {**annotation, "id": 4, "segmentation": [[0, 0, 9, 0, 9, 9]]})
    expected = r"number 2 of its annotations lacks 'segmentation'\): .* without --masks boxes alone are used"
    with pytest.raises(UserError, match=expected):
        read_annotations(write_json(tmp_path / "a.json", content), images, masks=True)
    del content["annotations"][0]
    annotation["segmentation"] = {"size": [30, 40], "counts": [1200]}
    with pytest.raises(UserError, match=r"annotation 5 in c/d.png has a mask of height and width \[30, 40\]"):
        read_annotations(write_json(tmp_path / "a.json", content), images, masks=True)
    labels = read_annotations(tmp_path / "a.json", images, masks=True, problems="skip")
    assert len(labels.objects[0]) == 0
    assert labels.has_masks


def test_long_run_lengths_are_added_up_rightly() -> None:
    """Numbers of several characters, and differences below zero."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        counts = rng.integers(0, 10 ** rng.integers(1, 5), rng.integers(1, 12) * 2 + 1).tolist()
        size = [1, sum(counts)]
        compressed = tools.frPyObjects({"size": size, "counts": counts}, *size)
        assert to_rle(dict(compressed), size[1], 1) == compressed


@pytest.mark.parametrize("count", [1, 255, 256, 1000])
def test_areas_of_however_many_masks(count: int) -> None:
    """pycocotools' own function fails for more than 255 together."""
    masks = [random_mask(seed) for seed in range(count)]
    areas = mask_areas([encode_mask(mask) for mask in masks])
    assert areas.tolist() == [int(mask.sum()) for mask in masks]


def test_an_image_of_many_objects_with_masks(tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"a.png": (60, 50)})
    objects = [
        {"id": n, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 5], "segmentation": [[0, 0, 4, 0, 4, 5, 0, 5]]}
        for n in range(300)
    ]
    image = {"id": 1, "file_name": "a.png", "width": 60, "height": 50}
    file = write_json(
        tmp_path / "l.json", {"images": [image], "annotations": objects, "categories": [{"id": 1, "name": "crow"}]}
    )
    labels = read_annotations(file, tmp_path / "images", masks=True)
    assert labels.objects[0].area.tolist() == [20.0] * 300
