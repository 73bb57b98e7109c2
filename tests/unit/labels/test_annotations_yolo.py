"""Objects from YOLO's text files: shares become pixels, outlines boxes and masks, and every mistake is reported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyview.errors import UserError
from manyview.labels import DetectionLabels, decode_masks, read_annotations, read_labels
from tests.helpers.detections import write_images, write_json

CLASSES = ("owl", "cat", "ant")
# Sides are powers of two: every quarter of a pixel is a share that floating point holds exactly.
SIZES = {"a.jpg": (64, 32), "c/d.png": (16, 128), "e.png": (256, 64), "f.png": (32, 32)}
BOX = "0.5 0.5 0.25 0.5"
OUTLINE = "0.25 0.25 0.75 0.25 0.5 0.75"

Thing = tuple[int, list[float]]
"""Class, and left, top, width, height or a polygon, in pixels."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), SIZES)


def scenes(*, outlines: bool) -> dict[str, list[Thing]]:
    """Objects of every image but the last; every second one, or each with ``outlines``, is a polygon."""
    rng = np.random.default_rng(3)
    found: dict[str, list[Thing]] = {}
    for name, (width, height) in SIZES.items():
        found[name] = []
        for place in range(0 if name == "f.png" else 4):
            kind = int(rng.integers(3))
            x, y = rng.integers(0, 4 * width + 1, 5) / 4, rng.integers(0, 4 * height + 1, 5) / 4
            if outlines or place % 2:
                found[name].append((kind, np.stack([x, y], axis=1).ravel().tolist()))
            else:
                box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
                found[name].append((kind, [float(value) for value in box]))
    return found


def around(polygon: Sequence[float]) -> list[float]:
    x, y = polygon[::2], polygon[1::2]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def as_coco(file: Path, found: dict[str, list[Thing]]) -> Path:
    annotations = [
        {
            "image_id": image,
            "category_id": kind + 1,
            "bbox": numbers if len(numbers) == 4 else around(numbers),
            "segmentation": [numbers],
        }
        for image, things in enumerate(found.values(), start=1)
        for kind, numbers in things
    ]
    content = {
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)],
        "images": [{"id": number, "file_name": name} for number, name in enumerate(found, start=1)],
        "annotations": annotations,
    }
    return write_json(file, content)


def as_yolo(folder: Path, found: dict[str, list[Thing]]) -> Path:
    """A folder ``labels``, without the names of the classes."""
    for name, things in found.items():
        file = folder / "labels" / Path(name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{kind} {shares(numbers, *SIZES[name])}\n" for kind, numbers in things))
    return folder / "labels"


def shares(numbers: list[float], width: int, height: int) -> str:
    if len(numbers) == 4:
        left, top, across, down = numbers
        numbers = [left + across / 2, top + down / 2, across, down]
    return " ".join(repr(number / (height if place % 2 else width)) for place, number in enumerate(numbers))


def one(folder: Path, content: str) -> Path:
    """A folder of labels whose first image has these lines; the second has one box."""
    (folder / "labels/c").mkdir(parents=True, exist_ok=True)
    (folder / "labels/a.txt").write_text(content)
    (folder / "labels/c/d.txt").write_text(f"1 {BOX}\n")
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    return folder / "labels"


def pixels(labels: DetectionLabels, index: int) -> np.ndarray:
    masks = labels.objects[index].segmentations
    assert masks is not None
    return decode_masks(masks, *labels.sizes[index])


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("names", ["classes.txt", "labels/data.yaml"])
def test_the_same_scenes_as_coco_and_as_yolo_are_equal(tmp_path: Path, images: Path, names: str, masks: bool) -> None:
    found = scenes(outlines=masks)
    folder = as_yolo(tmp_path, found)
    (tmp_path / names).write_text("\n".join(CLASSES) if ".txt" in names else f"names: {json.dumps(CLASSES)}\n")
    from_coco = read_annotations(as_coco(tmp_path / "boxes.json", found), images, masks=masks)
    from_yolo = read_annotations(folder, images, masks=masks)
    assert from_yolo.names == tuple(SIZES)
    assert from_yolo.classes == CLASSES
    assert from_yolo.has_masks is masks
    assert from_yolo.fingerprint() == from_coco.fingerprint()
    for ours, theirs in zip(from_yolo.objects, from_coco.objects, strict=True):
        for column in ("boxes", "labels", "crowd", "difficult", "area", "labeled_boxes"):
            np.testing.assert_array_equal(getattr(ours, column), getattr(theirs, column))
        assert ours.segmentations == theirs.segmentations
    assert sum(len(objects) for objects in from_yolo.objects) == 12


def test_a_box_is_given_by_its_center_and_an_outline_by_its_corners(tmp_path: Path, images: Path) -> None:
    labels = read_annotations(one(tmp_path, f"2 {BOX}\n\n0 {OUTLINE}\n"), images)
    assert labels.objects[0].labels.tolist() == [3, 1]
    assert labels.objects[0].boxes.tolist() == [[24, 8, 40, 24], [16, 8, 48, 24]]
    assert labels.objects[0].area.tolist() == [16 * 16, 32 * 16]
    outlined = "0 0.25 0.25 0.75 0.25 0.75 0.5 0.25 0.5\n"
    mask = pixels(read_annotations(one(tmp_path, outlined), images, masks=True, problems="skip"), 0)[0]
    expected = np.zeros((32, 64), dtype=np.uint8)
    expected[8:16, 16:48] = 1
    assert np.array_equal(mask, expected)


def test_rounded_shares_are_pixels_within_a_hundredth(tmp_path: Path) -> None:
    size = (1333, 799)
    images = write_images(tmp_path / "images", {"a.png": size})
    rng = np.random.default_rng(0)
    corners = np.sort(rng.random((30, 2, 2)), axis=1)
    centers, sides = corners.mean(axis=1), corners[:, 1] - corners[:, 0]
    lines = "".join(f"0 {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for (x, y), (w, h) in zip(centers, sides, strict=True))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text(lines)
    boxes = read_annotations(tmp_path / "labels", images).objects[0].boxes
    np.testing.assert_allclose(boxes, (corners * size).reshape(-1, 4), atol=0.01)


def test_without_names_the_classes_are_numbers_in_their_order(tmp_path: Path, images: Path) -> None:
    folder = one(tmp_path, f"10 {BOX}\n9 {BOX}\n")
    (tmp_path / "classes.txt").unlink()
    labels = read_annotations(folder, images)
    assert (labels.classes, labels.category_ids) == (("1", "9", "10"), (1, 2, 3))
    assert labels.image_ids == (1, 2)
    assert labels.objects[0].labels.tolist() == [3, 2]


PROBLEMS = [
    ("0 .5 .5 .1", "is '0 .5 .5 .1'"),
    ("owl .5 .5 .1 .1", "is 'owl .5 .5 .1 .1'"),
    ("-1 .5 .5 .1 .1", "is '-1 .5 .5 .1 .1'"),
    ("0 .5 .5 .1 inf", "is '0 .5 .5 .1 inf'"),
    ("3 .5 .5 .1 .1", "has the class 3, for which there is no name"),
    ("0 32 16 8 8", "has 32, which is not from 0 to 1"),
    ("0 .5 1.02 .1 .1", "has 1.02, which is not from 0 to 1"),
    ("0 .5 .5 -.1 .1", "has -0.1, which is not from 0 to 1"),
    ("0 .5 .5 -.001 .1", r"in a\.jpg has the box \[.*\], which is not valid"),
    ("0 .5 .5 .1 .1 .9", "has 5 numbers, where a box has 4 and an outline two for each corner"),
    ("0 .1 .1 .2 .1 .2 .2 .3", "has 7 numbers"),
    ("0 .1 .1 .2 .1 .2 -.2", "has -0.2, which is not from 0 to 1"),
]


@pytest.mark.parametrize(("line", "message"), PROBLEMS)
def test_bad_lines_are_refused_in_one_line_or_skipped(tmp_path: Path, images: Path, line: str, message: str) -> None:
    folder = one(tmp_path, f"0 {BOX}\n{line}\n2 {OUTLINE}\n")
    with pytest.raises(UserError, match=rf"labels has a problem \(line 2 of a\.txt {message}") as refusal:
        read_annotations(folder, images)
    assert "\n" not in str(refusal.value)
    labels = read_annotations(folder, images, problems="skip")
    assert [objects.labels.tolist() for objects in labels.objects] == [[1, 3], [2]]
    [sentence] = labels.skipped
    assert sentence.startswith("line 2 of a.txt ")


def test_what_rounding_brings_over_the_edge_is_cut(tmp_path: Path, images: Path) -> None:
    folder = one(tmp_path, "0 .9 .5 .21 .5\n0 -0.005 0 1.005 0 1 .5\n")
    labels = read_annotations(folder, images)
    np.testing.assert_allclose(labels.objects[0].boxes, [[50.88, 8, 64, 24], [0, 0, 64, 16]], atol=1e-5)
    assert labels.notes == ()
    [note] = read_annotations(one(tmp_path, "0 .9 .5 .3 .5\n"), images).notes
    assert note == "cut to the image for training: the box of line 1 of a.txt in a.jpg"


def test_a_box_without_area_is_not_trained_on(tmp_path: Path, images: Path) -> None:
    labels = read_annotations(one(tmp_path, f"0 .5 .5 0 .5\n0 {BOX}\n0 .1 .1 .1 .2 .1 .3\n"), images)
    assert labels.objects[0].trained.tolist() == [False, True, False]
    assert labels.notes[0].startswith("left out of training for having no area: 2 boxes, the first being line 1 of a")


def test_classes_of_the_training_labels_keep_their_order(tmp_path: Path, images: Path) -> None:
    folder = one(tmp_path, f"0 {BOX}\n")
    labels = read_annotations(folder, images, classes=["ant", "cat", "owl"])
    assert [objects.labels.tolist() for objects in labels.objects] == [[3], [2]]
    with pytest.raises(UserError, match=r"line 1 of a\.txt in a\.jpg is of the unknown class 'owl', the nearest known"):
        read_annotations(folder, images, classes=["ant", "cat", "wolf"])


def test_images_are_found_by_name_or_reported(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", {"a.jpg": (64, 32), "c/d.png": (64, 32)})
    folder = one(tmp_path, f"0 {BOX}\n")
    (folder / "e.txt").write_text(f"0 {BOX}\n")
    with pytest.raises(UserError, match=r"e\.txt has no image e\.\*"):
        read_annotations(folder, images)
    assert read_annotations(folder, images, problems="skip").names == ("a.jpg", "c/d.png")
    write_images(images, {"e.jpg": (9, 9), "e.png": (9, 9)})
    with pytest.raises(UserError, match=r"e\.txt may belong to any of e\.jpg, e\.png"):
        read_annotations(folder, images)
    (images / "e.png").unlink()
    (images / "e.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"e\.txt names e\.jpg, which cannot be read"):
        read_annotations(folder, images)
    (folder / "e.txt").write_bytes(b"\xff\xfe0")
    with pytest.raises(UserError, match=r"has a problem \(the labels .*e\.txt must be UTF-8 text"):
        read_annotations(folder, images)
    assert read_annotations(folder, images, problems="skip").names == ("a.jpg", "c/d.png")


def test_masks_need_an_outline_of_each_object(tmp_path: Path, images: Path) -> None:
    folder = one(tmp_path, f"0 {OUTLINE}\n1 {BOX}\n")
    (folder / "c/d.txt").write_text("")
    assert len(read_annotations(folder, images).objects[0]) == 2
    with pytest.raises(UserError, match=r"line 2 of a\.txt has a box, but no outline, which masks are made of"):
        read_annotations(folder, images, masks=True)
    labels = read_annotations(folder, images, masks=True, problems="skip")
    assert labels.has_masks
    assert [len(objects) for objects in labels.objects] == [1, 0]


@pytest.mark.parametrize("place", ["labels", "."])
def test_key_points_are_known_by_their_shape_and_left_out(tmp_path: Path, images: Path, place: str) -> None:
    points = "0.5 0.5 2 0.1 0.2 1"
    folder = one(tmp_path, f"0 {BOX} {points}\n")
    (folder / "c/d.txt").write_text("")
    with pytest.raises(UserError, match=r"line 1 of a\.txt has 2, which is not from 0 to 1"):
        read_annotations(folder, images)
    (tmp_path / place / "data.yaml").write_text(f"kpt_shape: [2, 3]\nnames: {json.dumps(CLASSES)}\n")
    assert read_annotations(folder, images).objects[0].boxes.tolist() == [[24, 8, 40, 24]]
    with pytest.raises(UserError, match="holds boxes, but no outlines, of which masks are made: leave out --masks"):
        read_annotations(folder, images, masks=True)
    one(tmp_path, f"0 {BOX} {points} 0.5\n")
    with pytest.raises(UserError, match=r"has 11 numbers instead of a box's 4 and 6 of key points"):
        read_annotations(folder, images)


def test_the_shape_of_key_points_is_found_where_the_names_are(tmp_path: Path, images: Path) -> None:
    """In a YAML file of any name: an even number of numbers would otherwise be taken for an outline."""
    folder = one(tmp_path, f"0 {BOX} .1 .1 .9 .9 .2 .3\n")
    (folder / "c/d.txt").write_text("")
    described = f"train: images\nnames: {json.dumps(CLASSES)}\n"
    (tmp_path / "people-pose.yaml").write_text(f"{described}kpt_shape: [3, 2]\n")
    assert read_annotations(folder, images).objects[0].boxes.tolist() == [[24, 8, 40, 24]]
    (tmp_path / "boxes.yaml").write_text(described)
    with pytest.raises(UserError, match=r"boxes\.yaml and .*people-pose\.yaml differ in kpt_shape: give the one"):
        read_annotations(folder, images)
    assert read_labels(folder, images).classes == tuple(CLASSES)


@pytest.mark.parametrize("shape", ["17", "[17]", "[17, x]", "[-1, 3]", "[[17], 3]", "{a: 3, b: 4}"])
def test_a_shape_of_key_points_that_is_none_is_refused(tmp_path: Path, images: Path, shape: str) -> None:
    folder = one(tmp_path, f"0 {BOX}\n")
    (tmp_path / "data.yaml").write_text(f"kpt_shape: {shape}\nnames: {json.dumps(CLASSES)}\n")
    with pytest.raises(UserError, match=r"data\.yaml must have as kpt_shape a list of two numbers"):
        read_annotations(folder, images, problems="skip")


def test_what_is_no_folder_of_yolos_files_is_refused(tmp_path: Path, images: Path) -> None:
    folder = one(tmp_path, f"0 {BOX}\n")
    with pytest.raises(UserError, match=r"a\.txt does not say where objects .* or a folder of YOLO's \.txt files"):
        read_annotations(folder / "a.txt", images)
    (folder / "b.xml").write_text("<annotation/>")
    with pytest.raises(UserError, match=r"labels holds both \.xml and \.txt files, such as b\.xml and a\.txt"):
        read_annotations(folder, images)
    (tmp_path / "prose").mkdir()
    (tmp_path / "prose/read_me.txt").write_text("Labels are elsewhere.")
    with pytest.raises(UserError, match="prose does not say where objects are"):
        read_annotations(tmp_path / "prose", images)


def test_files_without_any_object_are_labels_if_classes_have_names(tmp_path: Path, images: Path) -> None:
    folder = one(tmp_path, "\n")
    (folder / "c/d.txt").write_text("")
    labels: Any = read_annotations(folder, images)
    assert labels.occupied() == ()
    assert labels.classes == CLASSES
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(UserError, match="holds no object at all"):
        read_annotations(folder, images)
