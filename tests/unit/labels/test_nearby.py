"""Wrong folders are answered with those that would do."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyview.errors import UserError
from manyview.labels import read_annotations, read_labels
from tests.helpers.detections import write_images

BOX = "0 0.5 0.5 0.25 0.5\n"
CORNERS = "".join(f"<{side}>{value}</{side}>" for side, value in (("xmin", 1), ("ymin", 1), ("xmax", 9), ("ymax", 9)))
XML = f"<annotation><object><name>owl</name><bndbox>{CORNERS}</bndbox></object></annotation>"
YAML = "train: train/images\nval: valid/images\nnames: [owl]\n"
JSON = '{"categories": [], "images": [{"id": 1, "file_name": "a.png"}], "annotations": []}'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets of several layouts, each with the images a.png to c.png of each split."""
    folder = tmp_path_factory.mktemp("data")
    files: dict[str, str] = {"robo/data.yaml": YAML, "robo/README.txt": "exported\n"}
    images: dict[str, tuple[int, int]] = {}
    for name in ("a", "b", "c"):
        for part in ("train", "valid"):
            images[f"robo/{part}/images/{name}.png"] = images[f"flat/images/{part}/{name}{part}.png"] = (20, 10)
            files[f"robo/{part}/labels/{name}.txt"] = files[f"flat/labels/{part}/{name}{part}.txt"] = BOX
        images[f"voc/JPEGImages/{name}.png"] = images[f"coco/pictures/{name}.png"] = (20, 10)
        files[f"voc/Annotations/{name}.xml"] = XML
    files |= {"voc/ImageSets/Main/train.txt": "a\nb\n", "coco/annotations/instances_train.json": JSON}
    files |= {"coco/rows.csv": "image,labels\na.png,owl\nc.png,\n"}
    write_images(folder, images)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("labels", "images", "answer"),
    [
        ("flat/labels/train", "flat", "they are in flat/images/train: give that as the folder of images"),
        ("flat/labels/train", "flat/labels/train", "they are in flat/images/train: give that as the folder of images"),
        ("flat/labels", "flat/images/train", "they are in flat/images: give that as the folder of images"),
        ("flat", "flat/images", "those in flat/labels fit: give that as the labels"),
        ("flat", "flat", "the labels in flat/labels fit the images in flat/images: give both"),
        ("flat/images/train", "flat/images/train", "no .* known format; flat/labels/train would do"),
        ("robo", "robo", "robo/data.yaml says which images and labels belong together: give it as the labels"),
        ("robo/train", "robo/train/images", "robo/data.yaml says which images and labels belong together"),
        ("robo/train/images", "robo/train/images", "known format; robo/data.yaml would do$"),
        ("voc/Annotations", "voc", "they are in voc/JPEGImages: give that as the folder of images"),
        ("voc/ImageSets/Main/train.txt", "voc/Annotations", "they are in voc/JPEGImages: give that"),
        ("voc", "voc/JPEGImages", "one format only; voc/ImageSets/Main/train.txt or voc/Annotations would do$"),
        ("voc/JPEGImages", "voc/JPEGImages", "known format; voc/Annotations or voc/ImageSets/Main/train.txt would do$"),
        ("coco", "coco/pictures", "known format; .*coco/annotations/instances_train.json would do$"),
        ("coco/annotations/instances_train.json", "coco", "they are in coco/pictures: give that as the folder of"),
        ("coco/rows.csv", "coco", "they are in coco/pictures: give that as the folder of images"),
    ],
)
def test_a_wrong_folder_is_answered_with_the_right_one(
    root: Path, monkeypatch: pytest.MonkeyPatch, labels: str, images: str, answer: str
) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(UserError, match=answer):
        read_labels(Path(labels), Path(images))
    if not labels.endswith(".csv"):
        with pytest.raises(UserError, match=answer.replace("no .* known", "known")):
            read_annotations(Path(labels), Path(images))


def test_nothing_is_suggested_that_does_not_fit(root: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "labels/z.txt").write_text(BOX)
    with pytest.raises(UserError, match=r"by their names without extension$"):
        read_labels(tmp_path / "labels", tmp_path / "images")
    (tmp_path / "far/from/labels").mkdir(parents=True)
    with pytest.raises(UserError, match=r"is no label file of a known format: labels may be"):
        read_labels(tmp_path / "far/from/labels", tmp_path / "images")
    names = [f"{number}.png" for number in range(30)]
    (tmp_path / "l.csv").write_text("image,labels\nz.png,owl\n" + "".join(f"{name},owl\n" for name in names))
    write_images(tmp_path / "images", dict.fromkeys(names, (9, 9)))
    with pytest.raises(
        UserError, match=r"names z\.png, which is missing.*: names must .*; --label-problems skip [^;]*$"
    ):
        read_labels(tmp_path / "l.csv", tmp_path / "images")
