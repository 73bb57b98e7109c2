"""Images for a detector: pixels, boxes and masks together, mirrored one time in two, whoever loads them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from manyview.detection.dataset import DetectionImages, Target, detection_batches
from manyview.errors import UserError
from manyview.labels import DetectionLabels, Objects, encode_mask, read_annotations
from tests.helpers.detections import write_json

SIZES = [(37, 25), (20, 31), (8, 9), (64, 7), (1, 1)]


def draw(folder: Path) -> DetectionLabels:
    """Images in which a box of one color is each object; the third of each is a crowd, the fourth has no area."""
    objects = []
    for place, (width, height) in enumerate(SIZES):
        rng = np.random.default_rng(place)
        pixels = rng.integers(0, 100, (height, width, 3), dtype=np.uint8)
        boxes: list[list[int]] = []
        masks: list[np.ndarray] = []
        for number in range(4 if min(width, height) > 5 else 0):
            left, top = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
            right, bottom = int(rng.integers(left + 1, width + 1)), int(rng.integers(top + 1, height + 1))
            right = left if number == 3 else right
            boxes.append([left, top, right, bottom])
            pixels[top:bottom, left:right] = 100 + 40 * number
            masks.append((pixels == 100 + 40 * number).all(axis=2))
        Image.fromarray(pixels).save(folder / f"{place}.png")
        corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        objects.append(
            Objects(
                boxes=corners.astype(np.float32),
                labels=np.arange(1, len(boxes) + 1, dtype=np.int64),
                crowd=np.array([False, False, True, False][: len(boxes)], dtype=bool),
                difficult=np.array([True, False, False, False][: len(boxes)], dtype=bool),
                area=np.ones(len(boxes)),
                labeled_boxes=np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
                segmentations=tuple(encode_mask(mask) for mask in masks),
            )
        )
    return DetectionLabels(
        names=tuple(f"{place}.png" for place in range(len(SIZES))),
        sizes=tuple(SIZES),
        classes=("a", "b", "c", "d"),
        objects=tuple(objects),
        image_ids=tuple(range(len(SIZES))),
        category_ids=(1, 2, 3, 4),
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def labels(images: Path) -> DetectionLabels:
    return draw(images)


def item(dataset: DetectionImages, epoch: int, index: int) -> tuple[Tensor, Target]:
    found = dataset[epoch, index]
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize("index", range(len(SIZES)))
def test_an_item_is_the_image_with_its_target(labels: DetectionLabels, images: Path, index: int) -> None:
    pixels, target = item(DetectionImages(labels, images), 0, index)
    assert pixels.dtype == torch.uint8
    assert np.array_equal(pixels.permute(1, 2, 0), np.array(Image.open(images / f"{index}.png")))
    count = 2 if min(SIZES[index]) > 5 else 0
    assert target["boxes"].tolist() == labels.objects[index].boxes[:count].tolist()
    assert target["boxes"].dtype == torch.float32
    assert target["boxes"].shape == (count, 4)
    assert target["labels"].tolist() == [1, 2][:count]
    assert target["image_id"].item() == index
    assert target["masks"].shape == (count, *SIZES[index][::-1])
    assert target["masks"].dtype == torch.uint8


def test_boxes_and_masks_are_mirrored_with_the_image(labels: DetectionLabels, images: Path) -> None:
    dataset, plain = DetectionImages(labels, images, flip=True), DetectionImages(labels, images)
    flips = 0
    for index in range(len(SIZES)):
        width = SIZES[index][0]
        pixels, target = item(plain, 0, index)
        for epoch in range(6):
            mirrored, other = item(dataset, epoch, index)
            if torch.equal(mirrored, pixels) and width > 1:
                assert all(torch.equal(other[key], target[key]) for key in target)
                continue
            flips += width > 1
            assert torch.equal(mirrored, pixels.flip(2))
            assert torch.equal(other["masks"], target["masks"].flip(2))
            for (left, top, right, bottom), number in zip(other["boxes"].int().tolist(), other["labels"], strict=True):
                column = labels.objects[index].boxes[int(number) - 1]
                assert (width - right, top, width - left, bottom) == tuple(column.astype(int))
                shown = (mirrored == 60 + 40 * int(number)).all(0)
                hidden = (mirrored >= 100).all(0) & ~shown  # by a later object
                assert (shown | hidden)[top:bottom, left:right].all()
    assert 6 <= flips <= 18  # of 24


def test_one_half_is_mirrored_by_seed_epoch_and_image(labels: DetectionLabels, images: Path) -> None:
    whole, _ = item(DetectionImages(labels, images), 0, 2)

    def flipped(seed: int) -> list[bool]:
        dataset = DetectionImages(labels, images, flip=True, seed=seed)
        return [not torch.equal(item(dataset, epoch, 2)[0], whole) for epoch in range(400)]

    first = flipped(3)
    assert first == flipped(3)
    assert first != flipped(4)
    assert 160 < sum(first) < 240  # four standard deviations of 10
    both = DetectionImages(labels, images, flip=True, seed=3)
    other, _ = item(DetectionImages(labels, images), 0, 0)
    assert first != [not torch.equal(item(both, epoch, 0)[0], other) for epoch in range(400)]


@pytest.mark.parametrize("masks", [True, False])
def test_batches_are_the_same_with_any_number_of_workers(labels: DetectionLabels, images: Path, masks: bool) -> None:
    if not masks:
        labels = replace(labels, objects=tuple(replace(objects, segmentations=None) for objects in labels.objects))
    dataset = DetectionImages(labels, images, flip=True, seed=1)
    places = [[(0, 3), (0, 0), (0, 4)], [(0, 4)], [(1, 1), (1, 2)]]
    for workers in (0, 1, 2):
        batches = list(detection_batches(dataset, places, workers))
        assert [len(pixels) for pixels, _ in batches] == [3, 1, 2]
        for batch, wanted in zip(batches, places, strict=True):
            for pixels, target, place in zip(*batch, wanted, strict=True):
                expected, expected_target = item(dataset, *place)
                assert torch.equal(pixels, expected)
                assert target.keys() == expected_target.keys()
                assert ("masks" in target) is masks
                for key, value in target.items():
                    assert torch.equal(value, expected_target[key]), key
                    assert value.dtype == expected_target[key].dtype


def test_images_are_upright(labels: DetectionLabels, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    pixels = np.zeros((20, 30, 3), dtype=np.uint8)
    pixels[:, :10] = 255
    Image.fromarray(pixels).save(tmp_path / "0.png", exif=turned)
    one = replace(labels, names=("0.png",), sizes=((20, 30),), objects=labels.objects[4:])
    upright, _ = item(DetectionImages(one, tmp_path), 0, 0)
    assert upright.shape == (3, 30, 20)
    assert (upright[:, :10] == 255).all()
    assert (upright[:, 10:] == 0).all()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_reported_in_one_line(labels: DetectionLabels, tmp_path: Path, workers: int) -> None:
    draw(tmp_path)
    (tmp_path / "1.png").write_bytes(b"rubbish")
    batches = detection_batches(DetectionImages(labels, tmp_path), [[(0, 0)], [(0, 2), (0, 1)]], workers)
    next(batches)
    with pytest.raises(UserError, match=r"cannot read .*1.png \(not an image of a known format\): repair this file"):
        next(batches)
    Image.new("RGB", (5, 5)).save(tmp_path / "1.png")
    with pytest.raises(UserError, match="it changed its size after its labels were read"):
        list(detection_batches(DetectionImages(labels, tmp_path), [[(0, 1)]], workers))


def test_the_users_random_numbers_stay_as_they_are(labels: DetectionLabels, images: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    list(detection_batches(DetectionImages(labels, images, flip=True), [[(0, 0)]], 0))
    assert torch.equal(torch.rand(3), expected)


def test_the_thinnest_box_that_is_trained_on_keeps_its_area_in_the_mirror(tmp_path: Path) -> None:
    """Detectors refuse boxes without area, in the midst of training."""
    width = 60_000
    Image.new("RGB", (width, 1)).save(tmp_path / "0.png")
    image = {"id": 1, "file_name": "0.png"}
    boxes = [[0.3, 0, 10.0**-power, 1] for power in range(8)]
    annotations = [{"image_id": 1, "category_id": 1, "bbox": box} for box in boxes]
    content = {"categories": [{"id": 1, "name": "cat"}], "images": [image], "annotations": annotations}
    labels = read_annotations(write_json(tmp_path / "labels.json", content), tmp_path)
    assert labels.objects[0].trained.tolist() == [True, True] + [False] * 6
    assert labels.notes[0].startswith("left out of training for having no area: 6 boxes, the first being")
    dataset = DetectionImages(labels, tmp_path, flip=True)
    for epoch in range(6):
        boxes_of = item(dataset, epoch, 0)[1]["boxes"]
        assert (boxes_of[:, 2:] > boxes_of[:, :2]).all()


_ABANDONED = """
import sys
from pathlib import Path
from manyview.labels import read_annotations
from manyview.detection.dataset import DetectionImages, detection_batches
labels = read_annotations(Path(sys.argv[1]), Path(sys.argv[2]))
batches = detection_batches(DetectionImages(labels, Path(sys.argv[2])), [[(0, 0)]] * 50, 1)
next(batches)
raise RuntimeError("out of memory, say")
"""


def test_an_error_in_the_midst_of_loading_ends_the_process(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    content = {"categories": [{"id": 1, "name": "cat"}], "images": [{"id": 1, "file_name": "0.png"}], "annotations": []}
    labels = write_json(tmp_path / "labels.json", content)
    command = [sys.executable, "-c", _ABANDONED, str(labels), str(tmp_path)]
    process = subprocess.run(command, timeout=120, check=False, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr.strip().endswith("RuntimeError: out of memory, say")
