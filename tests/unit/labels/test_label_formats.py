"""Label formats: each declares itself, and lists of formats in messages and help follow from what they declare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main

from manyview.cli.parts.app import app
from manyview.errors import UserError
from manyview.labels import formats, read_annotations, read_labels
from manyview.labels.entries import (
    Contents,
    DetectionContents,
    Entry,
    LabeledImage,
    LabeledObject,
    LabelFiles,
    LabelFormat,
    LabelReader,
    ObjectReader,
)
from tests.helpers.detections import write_images

Write = Callable[[str, str], Path]


def is_ours(files: LabelFiles) -> bool:
    return files.ending == ".own"


def read_ours(files: LabelFiles) -> Contents:
    assert files.names
    return Contents([Entry(name, name.removesuffix(".own"), frozenset({"cat"})) for name in files.names], [], ["cat"])


def read_our_objects(files: LabelFiles, masks: bool) -> DetectionContents:
    assert files.names
    things = (LabeledObject("its only object", "cat", (1.0, 1.0, 3.0, 4.0)),)
    entries = [LabeledImage(name, name.removesuffix(".own"), objects=things) for name in files.names]
    return DetectionContents(entries, [], {"cat": 7})


OWN = LabelFormat(
    name="own",
    title="Own",
    labels=(LabelReader("a folder of .own files", is_ours, read_ours),),
    objects=(ObjectReader("a folder of .own files", is_ours, read_our_objects),),
    folder_endings=(".own",),
    no_labels=frozenset({"read_me.own"}),
)


@pytest.fixture
def with_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, OWN))


def test_names_and_descriptions_are_each_ones_own() -> None:
    names = [form.name for form in formats.FORMATS]
    assert names == ["csv", "coco", "voc", "yolo"]
    for part in ("labels", "objects"):
        abouts = [reader.about for form in formats.FORMATS for reader in getattr(form, part)]
        assert len(set(abouts)) == len(abouts)


@pytest.mark.usefixtures("with_ours")
def test_another_format_is_read_and_listed(write: Write, images: Path, tmp_path: Path) -> None:
    write("labels/read_me.own", "no labels")
    folder = write("labels/c/d.own", "").parents[1]
    labels = read_labels(folder, images)
    assert (labels.names, labels.classes, labels.targets.tolist()) == (("c/d.png",), ("cat",), [[1]])
    images = write_images(tmp_path / "images")
    objects = read_annotations(folder, images)
    assert (objects.names, objects.category_ids) == (("c/d.png",), (7,))
    assert objects.objects[0].boxes.tolist() == [[1, 1, 4, 5]]
    with pytest.raises(UserError, match=r"labels may be .* YOLO's \.txt files, or a folder of \.own files$"):
        read_labels(write("l.toml", ""), images)
    with pytest.raises(UserError, match=r"detection needs .* YOLO's \.txt files, or a folder of \.own files$"):
        read_annotations(write("l.toml", ""), images)


@pytest.mark.usefixtures("with_ours")
def test_another_format_may_have_no_masks_and_is_not_mixed_with_others(
    write: Write, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write("labels/a.own", "").parent
    needed = r".* outlines \(a COCO instances \.json or YOLO's outlines\)$"
    with pytest.raises(UserError, match=f"labels holds Own's annotations, which have boxes, but no {needed}"):
        read_annotations(folder, images, masks=True)
    masked = replace(OWN, objects=(replace(OWN.objects[0], masks="own masks"),))
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS[:-1], masked))
    with pytest.raises(UserError, match=r"a COCO instances \.json or YOLO's outlines or own masks"):
        read_annotations(write("voc/a.xml", "<annotation/>").parent, images, masks=True)
    write("labels/b.xml", "<annotation/>")
    with pytest.raises(UserError, match=r"labels holds both \.xml and \.own files, such as b\.xml and a\.own"):
        read_labels(folder, images)


@pytest.mark.parametrize(("verb", "part"), [("linear", "labels"), ("knn", "labels"), ("detect", "objects")])
def test_help_names_every_format(verb: str, part: str) -> None:
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    help_text = next(option.help for option in command.params if option.name == "train_labels")
    for form in formats.FORMATS:
        assert (form.title in help_text) == bool(getattr(form, part)), form.name
