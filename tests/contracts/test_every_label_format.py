"""What every label format promises: the same labels, written in each, are read equal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from manyview.labels import ImageLabels, read_labels
from manyview.labels.formats import FORMATS

CLASSES = ["aeroplane", "dog_small", "no", "traffic light", "Übung"]
NAMES = [
    f"{folder}2007_{number:06d}{ending}"
    for folder in ("", "more/")
    for number, ending in enumerate((".jpg", ".PNG", ".webp") * 4)
]
# 1 shown, 0 difficult, -1 not shown; every class is shown somewhere.
VALUES = np.random.default_rng(0).choice([1, 0, -1], p=[0.3, 0.2, 0.5], size=(len(NAMES), len(CLASSES)))

Writer = Callable[[Path, np.ndarray], Path]


def shown(row: np.ndarray) -> list[str]:
    return [name for name, value in zip(CLASSES, row, strict=True) if value == 1]


def stems() -> list[str]:
    return [str(PurePosixPath(name).with_suffix("")) for name in NAMES]


def put(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def as_csv(folder: Path, values: np.ndarray) -> Path:
    rows = [f"{name},{'|'.join(shown(row))}" for name, row in zip(NAMES, values, strict=True)]
    return put(folder / "l.csv", "\n".join(["image,labels", *rows]))


def as_coco(folder: Path, values: np.ndarray) -> Path:
    content = {
        "categories": [{"id": 3 * index + 1, "name": name} for index, name in enumerate(CLASSES)],
        "images": [{"id": 100 - index, "file_name": name} for index, name in enumerate(NAMES)],
        "annotations": [
            {"image_id": 100 - int(image), "category_id": 3 * int(index) + 1}
            for image, index in np.argwhere(values == 1)
        ],
    }
    return put(folder / "l.json", json.dumps(content))


def as_lists(folder: Path, values: np.ndarray) -> Path:
    for name, column in zip(CLASSES, values.T, strict=True):
        lines = [f"{stem} {value:2d}" for stem, value in zip(stems(), column, strict=True)]
        put(folder / f"Main/{name}_trainval.txt", "\n".join(lines))
    return folder / "Main"


def as_listed_classes(folder: Path, values: np.ndarray) -> Path:
    as_lists(folder / "ImageSets", -values)
    for name in CLASSES:
        path = folder / f"ImageSets/Main/{name}_trainval.txt"
        path.rename(path.with_name(f"{name}_test.txt"))
    as_lists(folder / "ImageSets", values)
    return put(folder / "ImageSets/Main/trainval.txt", "\n".join(stems()))


def as_annotations(folder: Path, values: np.ndarray) -> Path:
    for stem, row in zip(stems(), values, strict=True):
        objects = [
            f"<object><name>{name}</name><difficult>{1 - value}</difficult></object>"
            for name, value in zip(CLASSES, row, strict=True)
            if value >= 0
        ]
        put(folder / f"Annotations/{stem}.xml", f"<annotation>{''.join(objects)}</annotation>")
    return folder / "Annotations"


def as_listed_annotations(folder: Path, values: np.ndarray) -> Path:
    as_annotations(folder, values)
    return put(folder / "ImageSets/Main/trainval.txt", "\n".join(stems()))


def as_yolo(folder: Path, values: np.ndarray) -> Path:
    for stem, row in zip(stems(), values, strict=True):
        put(folder / f"labels/{stem}.txt", "".join(f"{index} .5 .5 .1 .2\n" for index in np.flatnonzero(row == 1)))
    put(folder / "data.yaml", f"names: {json.dumps(CLASSES)}\n")
    return folder / "labels"


VOC: list[Writer] = [as_lists, as_listed_classes, as_annotations, as_listed_annotations]
WRITERS: dict[str, list[Writer]] = {"csv": [as_csv], "coco": [as_coco], "voc": VOC, "yolo": [as_yolo]}


def test_every_format_is_tried() -> None:
    assert WRITERS.keys() == {form.name for form in FORMATS if form.labels}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in NAMES:
        put(tmp_path / "images" / name, "")
    return tmp_path / "images"


def check(labels: ImageLabels, targets: np.ndarray, ignored: np.ndarray | None) -> None:
    assert labels.names == tuple(NAMES)
    assert labels.classes == tuple(CLASSES)
    np.testing.assert_array_equal(labels.targets, targets)
    assert (labels.ignored is None) == (ignored is None)
    if ignored is not None:
        np.testing.assert_array_equal(labels.ignored, ignored)
    assert labels.skipped == ()


@pytest.mark.parametrize("write_as", [write_as for writers in WRITERS.values() for write_as in writers])
def test_labels_without_difficult_ones(tmp_path: Path, images: Path, write_as: Writer) -> None:
    values = np.where(VALUES == 0, -1, VALUES)
    labels = read_labels(write_as(tmp_path, values), images)
    check(labels, values == 1, None)
    assert labels.fingerprint() == read_labels(as_csv(tmp_path, values), images).fingerprint()


@pytest.mark.parametrize("write_as", VOC)
def test_labels_with_difficult_ones(tmp_path: Path, images: Path, write_as: Writer) -> None:
    file = write_as(tmp_path, VALUES)
    check(read_labels(file, images), VALUES == 1, VALUES == 0)
    check(read_labels(file, images, difficult="positive"), VALUES >= 0, None)


def test_other_labels_have_another_fingerprint(tmp_path: Path, images: Path) -> None:
    labels = read_labels(as_lists(tmp_path, VALUES), images)
    assert labels.ignored is not None
    others = [
        replace(labels, names=labels.names[::-1]),
        replace(labels, classes=labels.classes[::-1]),
        replace(labels, targets=1 - labels.targets),
        replace(labels, ignored=1 - labels.ignored),
        replace(labels, ignored=None),
    ]
    assert len({part.fingerprint() for part in (labels, *others)}) == 6
    assert replace(labels, skipped=("line 2",)).fingerprint() == labels.fingerprint()
