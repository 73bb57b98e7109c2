"""Pictures of detections: every box where it belongs, in its class's color, and nothing that should not be there."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from manyview.detection.draw import class_color, draw_predictions
from manyview.detection.pictures import draw_sheet, picture_file
from manyview.labels import encode_mask
from tests.helpers.detections import labels_of

CLASSES = ("cat", "owl", "Ölkäfer")
SIZE = 640  # of the longer side as it is drawn


def gray(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


def outputs(*found: tuple[list[float], int, float], masks: Tensor | None = None) -> dict[str, Tensor]:
    """Results from box, label and score."""
    result = {
        "boxes": torch.tensor([box for box, _, _ in found]).reshape(-1, 4).float(),
        "labels": torch.tensor([label for _, label, _ in found], dtype=torch.int64),
        "scores": torch.tensor([score for _, _, score in found]),
    }
    return result if masks is None else {**result, "box_masks": masks}


def drawn(*args: Any, **options: Any) -> Image.Image:
    return draw_predictions(*args, **options).picture


def has(picture: Image.Image, label: int) -> np.ndarray:
    """Which pixels have the color of a class."""
    return (np.array(picture) == class_color(label)).all(axis=2)


def extent(flags: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom edge of what is set."""
    rows, columns = np.flatnonzero(flags.any(axis=1)), np.flatnonzero(flags.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def test_a_class_with_a_line_break_in_its_name_is_drawn_in_one_line() -> None:
    found = outputs(([40, 30, 120, 90], 2, 0.9))
    names, spelled = ("cat", "owl\n", "dog"), ("cat", r"owl\n", "dog")
    truth = labels_of([[[0, 0, 20, 20]]], [[2]], classes=3).objects[0]
    for objects in (None, truth):
        expected = drawn(gray(160, 120), found, spelled, objects)
        assert np.array_equal(np.array(drawn(gray(160, 120), found, names, objects)), np.array(expected))


def test_a_box_is_drawn_where_it_is() -> None:
    picture = drawn(gray(160, 120), outputs(([40, 30, 120, 90], 2, 0.9)), CLASSES)
    title = picture.height - SIZE * 3 // 4
    assert picture.width == SIZE
    colored = has(picture, 2)
    # Four times enlarged, within a dark rim of one pixel; the words stand above the box.
    left, _, right, bottom = extent(colored)
    assert (left, right, bottom - title) == pytest.approx((160, 480, 360), abs=2)
    middle = colored[title + 240]
    assert np.flatnonzero(middle).tolist() == pytest.approx([161, 162, 163, 476, 477, 478], abs=1)
    assert not has(picture, 1).any()


def test_results_that_score_less_are_not_drawn() -> None:
    both = outputs(([10, 10, 60, 60], 1, 0.5), ([80, 10, 150, 60], 2, 0.49))
    assert has(drawn(gray(160, 120), both, CLASSES), 1).any()
    assert not has(drawn(gray(160, 120), both, CLASSES), 2).any()
    assert has(drawn(gray(160, 120), both, CLASSES, threshold=0.4), 2).any()


def test_the_best_is_on_top() -> None:
    box = [10.0, 40, 60, 100]
    for order in ([0, 1], [1, 0]):
        found = [(box, 1, 0.9), (box, 2, 0.8)]
        picture = drawn(gray(160, 120), outputs(*(found[place] for place in order)), CLASSES)
        row = np.array(picture)[picture.height - SIZE * 3 // 4 + 300]
        assert (row[42] == class_color(1)).all()


def test_a_mask_tints_its_pixels_only() -> None:
    masks = torch.full((2, 5, 5), 0.9)
    masks[:, 4] = 0.4
    found = outputs(([50, 40, 100, 90], 1, 0.9), ([0, 0, 160, 120], 2, 0.4), masks=masks)
    picture = np.array(drawn(gray(160, 120), found, CLASSES))
    picture = picture[-SIZE * 3 // 4 :]
    tint = 128 + 0.45 * (np.array(class_color(1)) - 128)
    assert np.abs(picture[4 * 60, 4 * 75] - tint).max() <= 1
    assert (picture[4 * 87, 4 * 75] == 128).all()
    assert (picture[4 * 60, 4 * 45] == 128).all()


def test_labels_stand_beside_the_detections() -> None:
    labels = labels_of([[[40, 30, 80, 60], [0, 0, 160, 20]]], [[2, 3]], classes=3, crowd=[[False, True]])
    pixels = np.zeros((120, 160), dtype=bool)
    pixels[40:60, 50:90] = True
    truth = replace(labels.objects[0], segmentations=(encode_mask(pixels), encode_mask(~pixels)))
    found = outputs(([40, 30, 120, 90], 1, 0.9))
    picture = drawn(gray(160, 120), found, CLASSES, labels.objects[0], name="c/\udcff.jpg")
    assert picture.width == 2 * SIZE + 12
    left, right = picture.crop((0, 0, SIZE, picture.height)), picture.crop((SIZE + 12, 0, *picture.size))
    assert has(left, 2).any()
    assert not has(left, 1).any()
    assert has(right, 1).any()
    assert not has(right, 2).any()
    assert 0.2 < has(left, 3)[:, 4:-4].any(axis=0).mean() < 0.9  # dashed, as it is a crowd
    with_masks = np.array(drawn(gray(160, 120), found, CLASSES, truth))
    changed = (with_masks != np.array(drawn(gray(160, 120), found, CLASSES, labels.objects[0]))).any(axis=2)
    assert changed[:, :SIZE].mean() > 0.3
    assert not changed[:, SIZE + 12 :].any()


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (2000, 5), (37, 25)])
def test_odd_images_and_boxes_are_drawn(size: tuple[int, int]) -> None:
    width, height = size
    whole = [0.0, 0, width, height]
    speck = [width - 0.1, height - 0.1, width, height]
    found = outputs((whole, 1, 1), (speck, 3, 0.9), ([-5, -5, width + 5, height + 5], 2, 0.8))
    labels = labels_of([[[0, 0, width, 0], [0, 0, width, height]]], [[1, 2]], size=size, difficult=[[True, True]])
    picture = drawn(gray(width, height), found, CLASSES, labels.objects[0], name="x" * 300)
    assert max(picture.size) <= 2 * SIZE + 40
    assert picture.mode == "RGB"


def test_nothing_found_leaves_the_image_as_it_is() -> None:
    picture = np.array(drawn(gray(160, 120), outputs(), CLASSES))
    assert (picture[-SIZE * 3 // 4 :] == 128).all()
    assert (picture[: -SIZE * 3 // 4] < 100).any()  # the title


def test_words_of_neighbours_do_not_cover_each_other() -> None:
    box = [60.0, 40, 100, 80]
    found = [(box, label, 0.9 - 0.1 * label) for label in (1, 2, 3)]
    picture = drawn(gray(160, 120), outputs(*found), CLASSES)
    # Each patch of words is a field of its class's color, far more than the lines of its box.
    alone = [has(drawn(gray(160, 120), outputs(one), CLASSES), one[1]).sum() for one in found]
    assert has(picture, 1).sum() >= 0.75 * alone[0]  # other words cover some of its lines
    patches = [has(picture, label).sum() for label in (2, 3)]
    lines = 3 * 4 * 2 * (40 + 40)
    assert all(patch > 0.5 * (whole - lines) for patch, whole in zip(patches, alone[1:], strict=True))


def test_classes_differ_in_color() -> None:
    colors = np.array([class_color(label) for label in range(1, 81)]) / 255
    assert len({tuple(color) for color in colors}) == 80
    assert min(np.abs(one - other).max() for one, other in itertools.pairwise(colors)) > 0.3
    assert min(np.abs(one - other).max() for one, other in itertools.combinations(colors[:20], 2)) > 0.05


@pytest.mark.parametrize(
    ("count", "size", "grid"),
    [(1, (800, 300), (1, 1)), (4, (800, 300), (2, 2)), (5, (400, 300), (3, 2)), (9, (400, 300), (3, 3))],
)
def test_a_sheet_holds_every_picture_in_rows(count: int, size: tuple[int, int], grid: tuple[int, int]) -> None:
    pictures = [Image.new("RGB", size, (10 * place, 0, 200)) for place in range(count)]
    sheet = np.array(draw_sheet(pictures))
    assert sheet.shape[:2] == (grid[1] * (size[1] + 12) + 12, grid[0] * (size[0] + 12) + 12)
    for place, picture in enumerate(pictures):
        assert (sheet == (10 * place, 0, 200)).all(axis=2).sum() == picture.width * picture.height


def test_what_the_threshold_leaves_is_reported() -> None:
    found = outputs(([10, 10, 60, 60], 1, 0.12), ([80, 10, 150, 60], 2, 0.3))
    for threshold, shown in ((0.1, 2), (0.2, 1), (0.5, 0)):
        result = draw_predictions(gray(160, 120), found, CLASSES, threshold=threshold, side=320)
        assert (result.picture.width, result.shown, result.best) == (320, shown, pytest.approx(0.3))
    assert draw_predictions(gray(160, 120), outputs(), CLASSES).best is None


@pytest.mark.parametrize(
    ("image", "file"),
    [
        ("day/DSC 1.JPG", "007-DSC_1.png"),
        ("a.b.png", "007-a.b.png"),
        ("shard/000001", "007-000001.png"),
        ("c/\udcff<x>.jpg", "007-_x_.png"),
        ("x" * 300, f"007-{'x' * 60}.png"),
    ],
)
def test_a_picture_is_named_after_its_image(image: str, file: str) -> None:
    assert picture_file(7, image) == file
