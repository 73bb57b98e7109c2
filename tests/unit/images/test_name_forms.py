"""Names that differ from those of files in form only: found where exactly one file fits, else the nearest is told."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from manyview.errors import UserError
from manyview.images import find_images
from manyview.labels import read_annotations, read_labels
from manyview.labels.boxes import read_boxes
from tests.helpers.detections import write_images

FILES = ["beach/übung é.png", "beach/b.png", "a.png", "c d.PNG"]
Form = Callable[[str, Path], str]
FORMS: dict[str, Form] = {
    "exact": lambda name, root: name,
    "backslashes": lambda name, root: name.replace("/", "\\"),
    "dot and backslash": lambda name, root: ".\\" + name.replace("/", "\\"),
    "absolute": lambda name, root: str(root / name),
    "absolute with dots": lambda name, root: str(root / "beach/.." / name),
    "absolute by a link": lambda name, root: str(root.parent / "link" / name),
    "address": lambda name, root: (root / name).as_uri(),
    "decomposed": lambda name, root: unicodedata.normalize("NFD", name),
    "decomposed with backslashes": lambda name, root: unicodedata.normalize("NFD", name).replace("/", "\\"),
    "relative to the parent": lambda name, root: f"{root.name}/{name}",
    "relative to beside": lambda name, root: f"../{root.name}/{name}",
    "another case": lambda name, root: name.upper(),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = write_images(tmp_path / "photos", {unicodedata.normalize("NFC", name): (9, 8) for name in FILES})
    (tmp_path / "link").symlink_to(folder)
    return folder


def wanted() -> list[str]:
    return [unicodedata.normalize("NFC", name) for name in FILES]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("by", ["csv", "coco", "list", "voc"])
def test_names_in_other_forms(tmp_path: Path, root: Path, form: Form, by: str) -> None:
    if by == "voc" and form in (FORMS["address"], FORMS["relative to the parent"]):
        return  # refused, as their annotations are not where they say
    names = [form(name, root) for name in wanted()]
    if by == "csv":
        file = tmp_path / "l.csv"
        file.write_text("image,labels\n" + "".join(f"{name},cat\n" for name in names), encoding="utf-8")
        found = read_labels(file, root).names
    elif by == "coco":
        entries = [{"id": index, "file_name": name, "width": 9, "height": 8} for index, name in enumerate(names)]
        file = tmp_path / "l.json"
        file.write_text(json.dumps({"images": entries, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}))
        found = read_annotations(file, root).names
        assert read_boxes(file, root).names == found
    elif by == "list":
        file = tmp_path / "l.txt"
        file.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        assert sorted(find_images(root, file)) == sorted(wanted())
        return
    else:  # the annotation of each has to be found, too
        for name in wanted():
            annotation = (tmp_path / "Annotations" / name).with_suffix(".xml")
            if form(name, root).startswith(("/", "..")):
                annotation = tmp_path / "Annotations" / annotation.name
            annotation.parent.mkdir(parents=True, exist_ok=True)
            annotation.write_text("<annotation><object><name>cat</name></object></annotation>")
        file = tmp_path / "l.txt"
        file.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        labels = read_labels(file, root, problems="skip")
        assert set(labels.names) <= set(wanted())
        assert labels.targets.all()  # none is read without its annotation
        return
    assert list(found) == wanted()


def test_files_stored_decomposed_are_found_by_composed_names(tmp_path: Path) -> None:
    stored = unicodedata.normalize("NFD", "übung.png")
    root = write_images(tmp_path / "photos", {stored: (9, 8)})
    file = tmp_path / "l.csv"
    file.write_text("image,labels\nübung.png,cat\n", encoding="utf-8")
    assert read_labels(file, root).names == (stored,)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/übung.txt").write_text("0 .5 .5 .1 .1\n")
    assert read_labels(tmp_path / "labels", root).names == (stored,)


def test_the_exact_name_comes_first_and_several_are_none(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    root = write_images(tmp_path / "photos", {nfc: (9, 8), nfd: (9, 8), "x.png": (9, 8), "X.png": (9, 8)})
    file = tmp_path / "l.csv"
    file.write_text(f"image,labels\n{nfd},cat\n{nfc},dog\nx.png,cow\n", encoding="utf-8")
    assert read_labels(file, root).names == (nfd, nfc, "x.png")
    file.write_text("image,labels\nX.PNG,cat\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"line 2 may belong to any of (X\.png, x\.png|x\.png, X\.png)"):
        read_labels(file, root)
    write_images(root / root.name, {"x.png": (9, 8)})
    file.write_text(f"image,labels\n{root.name}\\x.png,cat\n")
    either = rf"({root.name}/x\.png, x\.png|x\.png, {root.name}/x\.png)\): write the name of one of them"
    with pytest.raises(UserError, match=rf"line 2 may belong to any of {either}"):
        read_labels(file, root)
    listed = tmp_path / "l.txt"
    listed.write_text("X.PNG\n")
    with pytest.raises(UserError, match=r"names X\.PNG, which may be any of"):
        find_images(root, listed)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("beach/bb.png", "beach/b.png"),
        ("C:\\photos\\holiday\\b.png", "beach/b.png"),
        ("/elsewhere/photos/beach/b.png", "beach/b.png"),
        ("a.jpg", "a.png"),
        ("b.png", "beach/b.png"),
    ],
)
def test_the_nearest_name_is_told(tmp_path: Path, root: Path, name: str, near: str) -> None:
    file = tmp_path / "l.csv"
    file.write_text(f"image,labels\n{name},cat\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"the nearest name being {near}"):
        read_labels(file, root)


def test_the_nearest_name_of_a_list_is_told(tmp_path: Path, root: Path) -> None:
    listed = tmp_path / "l.txt"
    listed.write_text("beach/bb.png\na.png\n")
    with pytest.raises(UserError, match=r"beach/bb\.png\) not found in .*, the nearest name being beach/b\.png"):
        find_images(root, listed)


@pytest.mark.parametrize("name", ["../photos2/a.png", "/a.png", "../../a.png", "\0", "file:///a.png", "\udce4.png"])
def test_what_lies_elsewhere_stays_refused(tmp_path: Path, root: Path, name: str) -> None:
    (tmp_path / "photos2").mkdir()
    (tmp_path / "photos2/a.png").touch()
    content = {"images": [{"id": 1, "file_name": name}], "annotations": [], "categories": []}
    file = tmp_path / "l.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"outside of the folder|is missing"):
        read_labels(file, root)


@pytest.mark.parametrize("name", ["beach", "beach/", "folder.png", "linked.png"])
def test_a_folder_is_no_image_whatever_it_is_called(tmp_path: Path, root: Path, name: str) -> None:
    (root / "folder.png").mkdir()
    (root / "linked.png").symlink_to(root / "beach")
    listed, table, voc = tmp_path / "l.txt", tmp_path / "l.csv", tmp_path / "xml"
    listed.write_text(f"a.png\n{name}\n")
    table.write_text(f"image,labels\na.png,cat\n{name},cat\n")
    voc.mkdir()
    for each in ("a", "folder", "linked", "beach"):
        (voc / f"{each}.xml").write_text("<annotation><object><name>cat</name></object></annotation>")
    with pytest.raises(UserError, match=r"names 1 of 2 images \((beach|folder.png|linked.png)\) not found"):
        find_images(root, listed)
    with pytest.raises(UserError, match="which is missing"):
        read_labels(table, root)
    assert read_labels(table, root, problems="skip").names == ("a.png",)
    assert read_labels(voc, root, problems="skip").names == ("a.png",)


def test_a_link_that_leads_nowhere_is_told_when_it_is_read(tmp_path: Path, root: Path) -> None:
    (root / "lost.png").symlink_to(root / "nothing")
    listed = tmp_path / "l.txt"
    listed.write_text("lost.png\n")
    assert list(find_images(root, listed)) == ["lost.png"]
