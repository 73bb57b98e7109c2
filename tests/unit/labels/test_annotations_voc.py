"""Objects from Pascal VOC annotations: inclusive corners, difficult flags, and every mistake reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyview.errors import UserError
from manyview.labels import read_annotations
from tests.helpers.detections import write_images, write_json

OWL = ("owl", "2", "3", "11", "5", "0")


def xml(*objects: tuple[str, str, str, str, str, str], size: tuple[int, int] | None = None) -> str:
    """An annotation with a part of an object, whose box and name are not the object's."""
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    things = "".join(
        "<object><part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
        f"</part><name>{name}</name><difficult>{flag}</difficult><bndbox><xmax>{right}</xmax><xmin>{left}</xmin>"
        f"<ymin>{top}</ymin><ymax>{bottom}</ymax></bndbox></object>"
        for name, left, top, right, bottom, flag in objects
    )
    return f"<annotation><folder>VOC</folder>{sides}{things}</annotation>"


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A folder such as VOC2007."""
    write_images(tmp_path / "JPEGImages")
    for name, content in {
        "c/d": xml(OWL, ("cat", "1", "1", "41", "30", "1"), size=(41, 30)),
        "a": xml(("cat", "0.5", "1", "1", "1", "0")),
        "b": xml(size=(8, 9)),
    }.items():
        (tmp_path / f"Annotations/{name}.xml").parent.mkdir(parents=True, exist_ok=True)
        write_json(tmp_path / f"Annotations/{name}.xml", content)
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    write_json(tmp_path / "ImageSets/Main/train.txt", "c/d\na\n")
    return tmp_path


def test_a_box_includes_its_last_pixel_and_begins_before_its_first(voc: Path) -> None:
    labels = read_annotations(voc / "Annotations", voc / "JPEGImages")
    assert labels.names == ("a.jpg", "b.png", "c/d.png")
    assert labels.image_ids == (1, 2, 3)
    assert (labels.classes, labels.category_ids) == (("cat", "owl"), (1, 2))
    assert labels.sizes == ((20, 11), (8, 9), (41, 30))
    objects = labels.objects[2]
    assert objects.labeled_boxes.tolist() == [[1, 2, 10, 3], [0, 0, 41, 30]]
    assert objects.boxes.tolist() == [[1, 2, 11, 5], [0, 0, 41, 30]]
    assert objects.area.tolist() == [30, 1230]
    assert objects.labels.tolist() == [2, 1]
    assert objects.difficult.tolist() == [False, True]
    assert objects.trained.all()
    assert not objects.crowd.any()
    assert labels.objects[0].boxes.tolist() == [[0, 0, 1, 1]]  # 0.5 - 1 lies outside
    assert len(labels.objects[1]) == 0
    assert labels.notes == ()


def test_a_list_says_which_images_and_in_which_order(voc: Path) -> None:
    labels = read_annotations(voc / "ImageSets/Main/train.txt", voc / "JPEGImages")
    assert labels.names == ("c/d.png", "a.jpg")
    assert labels.objects[0].labels.tolist() == [2, 1]


def test_the_same_objects_from_coco_give_the_same_boxes(voc: Path) -> None:
    content = {
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "owl"}],
        "images": [{"id": 1, "file_name": "c/d.png"}],
        "annotations": [
            {"image_id": 1, "category_id": 2, "bbox": [1, 2, 10, 3]},
            {"image_id": 1, "category_id": 1, "bbox": [0, 0, 41, 30], "difficult": 1},
        ],
    }
    write_json(voc / "ImageSets/Main/one.txt", "c/d\n")
    from_coco = read_annotations(write_json(voc / "boxes.json", content), voc / "JPEGImages")
    from_voc = read_annotations(voc / "ImageSets/Main/one.txt", voc / "JPEGImages")
    assert from_coco.fingerprint() == from_voc.fingerprint()


@pytest.mark.parametrize(
    ("content", "message", "left"),
    [
        ("<annotation>", "line 2 names a, whose a.xml is not XML", 2),
        ("<boxes/>", "holds <boxes> instead of <annotation>", 2),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "DOCTYPE", 2),
        (xml(OWL, size=(20, 12)), "gives a.jpg 20 x 12 pixels, but the image has 20 x 11", 2),
        (xml(OWL).replace("<annotation>", "<annotation><size><width>x</width></size>"), "has the size x x 0", 2),
        (
            xml(("owl", "5", "3", "4", "5", "0")),
            "object 1 of a.xml reaches from 5, 3 to 4, 5, which is not a valid box",
            2,
        ),
        (xml(("owl", "", "3", "4", "5", "0")), "object 1 of a.xml has no number for xmin", 2),
        (xml(("owl", "1", "3", "nan", "5", "0")), "which is not a valid box", 2),
        (xml(("", "1", "3", "4", "5", "0")), "object 1 of a.xml has no name", 2),
        (xml(("owl", "1", "3", "4", "5", "no")), "object 1 of a.xml is difficult 'no'", 2),
        (xml(("owl", "21", "3", "24", "5", "0"), OWL), "object 1 in a.jpg has the box .* outside of its 20 x 11", 3),
    ],
)
def test_problems_are_refused_in_one_line_or_skipped(voc: Path, content: str, message: str, left: int) -> None:
    write_json(voc / "Annotations/a.xml", content)
    with pytest.raises(UserError, match=message) as refusal:
        read_annotations(voc / "ImageSets/Main/train.txt", voc / "JPEGImages")
    assert "\n" not in str(refusal.value)
    labels = read_annotations(voc / "ImageSets/Main/train.txt", voc / "JPEGImages", problems="skip")
    assert sum(len(objects) for objects in labels.objects) == left
    assert len(labels.skipped) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("e", "line 1 names e, whose e.xml is not in"),
        ("../c", "outside of the folder"),
        ("b\nb", "line 2 names b.png again, as line 1 does"),
    ],
)
def test_problems_of_a_list_are_reported(voc: Path, line: str, message: str) -> None:
    file = write_json(voc / "ImageSets/Main/odd.txt", line)
    with pytest.raises(UserError, match=message):
        read_annotations(file, voc / "JPEGImages", classes=["owl"])


def test_an_image_may_be_missing(voc: Path) -> None:
    (voc / "JPEGImages/b.png").unlink()
    with pytest.raises(UserError, match=r"b.xml has no image b\.\*"):
        read_annotations(voc / "Annotations", voc / "JPEGImages")
    assert len(read_annotations(voc / "Annotations", voc / "JPEGImages", problems="skip")) == 2


def test_there_are_no_masks(voc: Path) -> None:
    with pytest.raises(UserError, match=r"Annotations holds Pascal VOC's .* no outlines, .* \(a COCO instances"):
        read_annotations(voc / "Annotations", voc / "JPEGImages", masks=True)


def test_labels_without_any_object_are_refused(voc: Path) -> None:
    write_json(voc / "ImageSets/Main/empty.txt", "b\n")
    with pytest.raises(UserError, match="holds no object at all"):
        read_annotations(voc / "ImageSets/Main/empty.txt", voc / "JPEGImages")
    labels = read_annotations(voc / "ImageSets/Main/empty.txt", voc / "JPEGImages", classes=["owl"])
    assert labels.occupied() == ()
