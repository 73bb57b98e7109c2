"""YAML files of data sets, as Roboflow, Ultralytics and others write them: which images, labels and names they mean."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from manyview.errors import UserError
from manyview.labels import image_folder, is_data_file, read_annotations, read_labels, validation_labels
from tests.helpers.detections import write_images

Write = Callable[[str, str], Path]
NAMES = "names: [owl, cat]\n"
BOX = "0.5 0.5 0.25 0.5"


def put(folder: Path, *images: str, labels: str = "labels") -> None:
    """Images, of 20 x 10 pixels, with a cat in each, whose label files lie where "images" is ``labels``."""
    write_images(folder, dict.fromkeys(images, (20, 10)))
    for image in images:
        file = folder / image.replace("images", labels).replace(".png", ".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"1 {BOX}\n")


ROBOFLOW = ("train/images/a.png", "valid/images/b.png", "test/images/c.png")
ULTRALYTICS = ("images/train2017/a.png", "images/val2017/b.png", "images/test/c.png")


@pytest.mark.parametrize(
    ("file", "content", "images", "root"),
    [
        (
            "data.yaml",
            "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nroboflow: {version: 1}\n",
            ROBOFLOW,
            "",
        ),
        ("mine.yml", "train: train/images\nvalid: valid/images\ntest: test/images\n", ROBOFLOW, ""),
        (
            "coco128.yaml",
            "path: ../datasets/coco128 # root\ntrain: images/train2017\nval: images/val2017\ntest: images/test\n",
            ULTRALYTICS,
            "images",
        ),
        (
            "elsewhere/x.yaml",
            "path: ..\ntrain: [images/train2017]\nvalidation: images/val2017/\ntest: ./images/test\n",
            ULTRALYTICS,
            "images",
        ),
        (
            "moved.yaml",
            "train: /kaggle/input/ds/images/train2017\nval: C:\\ds\\images\\val2017\ntest: images/test\n",
            ULTRALYTICS,
            "images",
        ),
        ("flat.yaml", "train: /home/me/ds/train\nval: D:\\ds\\valid\\\ntest: ds/test/images\n", ROBOFLOW, ""),
        ("far.yaml", "train: /home/me/ds/far-train.txt\nval: [val.txt]\ntest: images/test\n", ULTRALYTICS, "images"),
        ("cvat.yaml", "path: ./\ntrain: cvat-train.txt\nval: val.txt\ntest: images/test\n", ULTRALYTICS, "images"),
        ("lists.yaml", "train: train.txt\nval: [val.txt]\ntest: images/test\n", ULTRALYTICS, "images"),
    ],
)
def test_each_layout_names_its_images_and_labels(
    tmp_path: Path, write: Write, file: str, content: str, images: tuple[str, ...], root: str
) -> None:
    folder = tmp_path / "datasets/coco128"
    put(folder, *images)
    write("datasets/coco128/train.txt", f"./{images[0]}\n")
    write("datasets/coco128/val.txt", f"{folder / images[1]}\n")
    write("datasets/coco128/far-train.txt", f"C:\\ds\\{images[0]}\n")
    write("datasets/coco128/cvat-train.txt", f"data/{images[0]}\n")
    written = write(f"datasets/coco128/{file}", content + NAMES)
    assert is_data_file(written)
    assert image_folder(written, None) == folder / root
    assert validation_labels(written, None) == written
    for split, image in zip(("train", "val", "test"), images, strict=True):
        labels, objects = read_labels(written, split=split), read_annotations(written, split=split)
        assert labels.names == objects.names == (image.removeprefix(f"{root}/"),)
        assert labels.classes == objects.classes == ("owl", "cat")
        assert (labels.targets.tolist(), labels.notes) == ([[0, 1]], ())
        assert objects.objects[0].boxes.tolist() == [[7.5, 2.5, 12.5, 7.5]]
        assert read_labels(written, tmp_path, split=split).names == (f"datasets/coco128/{image}",)


def test_a_missing_image_of_a_list_is_left_out_alone(tmp_path: Path, write: Write) -> None:
    put(tmp_path, "images/a.png")
    write("l.txt", "ds/images/z.png\nds/images/a.png\n")
    file = write("d.yaml", f"train: l.txt\nval: images\n{NAMES}")
    with pytest.raises(UserError, match=r"\(train of d\.yaml names \S+/images/z\.png, which is missing"):
        read_labels(file)
    assert read_labels(file, problems="skip").names == ("a.png",)


def test_images_without_label_files_show_nothing_and_are_counted(tmp_path: Path, write: Write) -> None:
    put(tmp_path, "images/a.png")
    write_images(tmp_path, {"images/b.png": (9, 9), "images/deep/c.png": (9, 9)})
    put(tmp_path, "beside.png")
    file = write("d.yaml", f"train: [images, l.txt]\nval: images\n{NAMES}")
    write("l.txt", "beside.png\n")
    labels = read_labels(file)
    assert labels.names == ("images/a.png", "images/b.png", "images/deep/c.png", "beside.png")
    assert labels.targets.tolist() == [[0, 1], [0, 0], [0, 0], [0, 1]]
    [note] = labels.notes
    assert note == "2 of the 4 images of train have no label file and count as showing none of the classes"
    assert [len(each) for each in read_annotations(file).objects] == [1, 0, 0, 1]


def test_names_come_from_the_file_or_from_the_option(tmp_path: Path, write: Write) -> None:
    put(tmp_path, "images/a.png")
    folder = tmp_path / "labels"
    bare = write("d.yaml", "train: images\nval: images\n")
    for labels in (bare, folder):
        images = None if labels == bare else tmp_path / "images"
        assert read_labels(labels, images).classes == ("1",)
        [note] = read_annotations(labels, images).notes
        assert "called 0, 1, ..." in note
        assert ("d.yaml has no names: add them" if labels == bare else "--names FILE gives them") in note
        for names in (write("n.txt", "owl\ncat\n"), write("n.yaml", "names: {1: cat, 0: owl}\n")):
            assert read_labels(labels, images, class_names=names).classes == ("owl", "cat")
            found = read_annotations(labels, images, class_names=names)
            assert (found.classes, found.notes) == (("owl", "cat"), ())
    write("coco128.yaml", f"train: images\n{NAMES}")  # of any name, as it also names images
    assert read_labels(folder, tmp_path / "images").classes == ("owl", "cat")
    table = write("t.csv", "image,labels\na.png,cat\n")
    with pytest.raises(UserError, match=r"--names is for YOLO's labels, .*t\.csv names its classes: leave it out"):
        read_labels(table, tmp_path / "images", class_names=names)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "must have names of classes and folders of images"),
        (NAMES, "names no images: it must have folders or lists"),
        (f"train: images\npath: [a]\n{NAMES}", "must have as path the folder"),
        (f"train: {{a: b}}\n{NAMES}", "must have as train a folder of images"),
        ("train: images\nnames: 3\n", "must have names"),
        ("train: images\nnames: [owl, owl]\n", "names 'owl' more than once: each class needs a name of its own"),
        ("train: images\nnames: {0: owl, 1: ''}\n", "leaves a class without a name"),
        ("train: images\nnames: {a: owl}\n", "names by keys other than the classes' numbers"),
        ("train: images\nnames: {-1: owl, 1: cat}\n", "names by keys other .* numbers, which are 0 or more"),
        ("train: images\nnames: {1: owl, 01: cat}\n", "names by keys other .* each once"),
        (f"train: pictures\n{NAMES}", "has 'pictures' as train, but there is no .*pictures.*: correct train or path"),
        (f"val: images\n{NAMES}", "names no images as train, only as val"),
        (f"train: bare/images\n{NAMES}", r"none of the 1 images of train .* would be .*bare/labels/x\.txt"),
        (f"train: empty.txt\n{NAMES}", "names no images"),
        (f"train: wrong.txt\n{NAMES}", r"names images/z\.png, which is missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, write: Write, content: str, complaint: str) -> None:
    put(tmp_path, "images/a.png")
    write_images(tmp_path, {"bare/images/x.png": (9, 9)})
    write("empty.txt", "\n")
    write("wrong.txt", "images/z.png\n")
    file = write("d.yaml", content)
    with pytest.raises(UserError, match=complaint):
        read_labels(file)


def test_other_labels_do_not_say_where_their_images_are(tmp_path: Path, write: Write) -> None:
    table = write("t.csv", "image,labels\na.png,cat\n")
    for described in ("a data.yaml", "coco128.yaml"):
        with pytest.raises(
            UserError, match=f"--images is missing: .*t.csv are relative to; .*{described} says by itself"
        ):
            image_folder(table, None)
        with pytest.raises(
            UserError, match=f"--val-labels is missing: .* or as --train-labels .*{described}, which has"
        ):
            validation_labels(table, None)
        write("coco128.yaml", f"train: images\n{NAMES}")
    assert validation_labels(table, os.fspath(table)) == table
