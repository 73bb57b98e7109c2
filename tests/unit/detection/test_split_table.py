"""The table of both splits before training: counts against those made by hand, and classes that lack objects."""

from __future__ import annotations

import io
from pathlib import Path

from manyview.detection.dataset import DetectionData
from manyview.detection.split_table import format_splits
from manyview.terminal import SafeConsole
from tests.helpers.detections import labels_of

BOX, FLAT = [1.0, 1.0, 9.0, 9.0], [1.0, 1.0, 0.0, 9.0]


def printed(data: DetectionData) -> list[str]:
    stream = io.StringIO()
    SafeConsole(file=stream, width=80).print(format_splits(data))
    return [line.replace(" ", "") for line in stream.getvalue().splitlines()]


def test_objects_and_images_by_class_and_split() -> None:
    train = labels_of(
        [[BOX, BOX, BOX], [BOX, FLAT], []],
        [[2, 2, 1], [2, 1], []],
        classes=3,
        crowd=[[False, False, True], [False, False], []],
    )
    val = labels_of([[BOX, FLAT], [BOX]], [[1, 3], [1]], classes=3, crowd=[[False, False], [True]])
    lines = printed(DetectionData(train, Path("a"), val, Path("b")))
    assert lines[3:6] == ["│class1│3│2│0│0│", "│class0│0│0│1│1│", "│class2│0│0│1│1│"]  # the commonest first
    assert lines[7] == "│all│3│3│2│2│"
    assert lines[9:] == [
        "2classeshavenotrainingobject,cannotbelearned:class0,class2.",
        "1classhasnovalidationobject,notinAP:class1.",
    ]


def test_many_classes_are_summed_and_names_are_not_obeyed() -> None:
    labels = labels_of([[BOX] * 50], [list(range(1, 51))], classes=50)
    lines = printed(DetectionData(labels, Path("a"), labels, Path("b")))
    assert "│20moreclasses│20││20││" in lines
    assert sum(line.startswith("│class") for line in lines) == 30
    hostile = labels_of([[BOX]], [[1]])
    object.__setattr__(hostile, "classes", ("\x1b[31m[red]",))
    assert any(
        line.startswith(r"│\x1b[31m[red]│1│1│") for line in printed(DetectionData(hostile, Path(), hostile, Path()))
    )
