"""YOLO folders as tools export them: class numbers in other notations, names in other files, lists of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from manyview.errors import UserError
from manyview.labels import read_annotations, read_labels
from tests.helpers.detections import write_images

Write = Callable[[str, str], Path]
BOX = "0.5 0.5 0.25 0.5"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("photos"), {"a.png": (20, 10), "b.png": (20, 10), "obj_x.png": (9, 9)})


@pytest.mark.parametrize("one", ["1", "1.0", "1.", "1e0", "1.0e+00", "1.000000000000000000e+00", "01", "+1", "10e-1"])
def test_class_numbers_in_other_notations(write: Write, photos: Path, one: str) -> None:
    write("labels/classes.txt", "owl\ncat\n")
    folder = write("labels/a.txt", f"{one} {BOX}\n0 {BOX}\n").parent
    assert read_annotations(folder, photos).objects[0].labels.tolist() == [2, 1]
    assert read_labels(folder, photos).targets.tolist() == [[1, 1]]


@pytest.mark.parametrize("number", ["1.5", "-1", "nan", "inf", "1e10", "1e-3", "cat", "0x1", "1_0", "1,0", "١"])
def test_what_is_no_class_number(write: Write, photos: Path, number: str) -> None:
    write("labels/classes.txt", "owl\ncat\n")
    folder = write("labels/a.txt", f"{number} {BOX}\n0 {BOX}\n").parent
    with pytest.raises(UserError, match=r"line 1 of a\.txt is "):
        read_annotations(folder, photos)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ("obj.names", "obj_train_data/a.txt"),  # CVAT's YOLO 1.1
        ("obj.names", "obj_Train_data/a.txt"),
        ("obj.names", "obj_valid_data/a.txt"),
        ("voc.names", "labels/train/a.txt"),  # darknet
        ("train/_darknet.labels", "train/a.txt"),  # Roboflow
        ("predefined_classes.txt", "labels/a.txt"),
        ("dataset.yaml", "labels/train/a.txt"),
    ],
)
def test_names_of_classes_in_other_files(write: Write, photos: Path, names: str, labels: str) -> None:
    write(names, "names: [owl, cat]\n" if names.endswith("yaml") else "owl\ncat\n\n")
    folder = write(labels, f"1 {BOX}\n").parent
    found = read_annotations(folder, photos)
    assert (found.classes, found.notes) == (("owl", "cat"), ())
    assert read_labels(folder, photos).classes == ("owl", "cat")


def test_an_export_as_a_whole(write: Write, tmp_path: Path) -> None:
    write("obj.names", "owl\ncat\n")
    write("obj.data", "classes = 2\nnames = obj.names\n")
    write("train.txt", "data/obj_train_data/a.png\nobj_train_data/more/b.png\n")
    write("obj_train_data/a.txt", f"1 {BOX}\n")
    write("obj_train_data/more/b.txt", "")
    write("test.txt", "obj_test_data/c.heic\nobj_test_data/d.avif\n")
    write_images(tmp_path, {"obj_train_data/a.png": (20, 10), "obj_train_data/more/b.png": (20, 10)})
    for labels, images in ((tmp_path, tmp_path), (tmp_path / "obj_train_data", tmp_path / "obj_train_data")):
        found = read_labels(labels, images)
        assert [Path(name).name for name in found.names] == ["a.png", "b.png"]
        assert (found.classes, found.targets.tolist()) == (("owl", "cat"), [[0, 1], [0, 0]])


def test_classes_without_names_are_reported(write: Write, photos: Path) -> None:
    folder = write("labels/a.txt", f"1 {BOX}\n").parent
    [note] = read_annotations(folder, photos).notes
    assert note.startswith(
        "the classes have no names and are called 0, 1, ..., as no classes.txt, data.yaml or obj.names"
    )
    assert read_labels(folder, photos).notes == (note,)
