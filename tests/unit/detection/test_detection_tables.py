"""The table of classes, and the sentence on a training that was too short."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import RenderableType

from manyview.detection.schedule import enough_iterations
from manyview.detection.tables import figures_by_class, format_classes, remark_on_length
from manyview.terminal import SafeConsole
from tests.helpers.detections import labels_of


def shown(table: RenderableType) -> list[str]:
    out = io.StringIO()
    SafeConsole(width=80, file=out).print(table)
    assert max(map(len, out.getvalue().splitlines())) <= 80
    return [line.replace("│", " ").strip() for line in out.getvalue().splitlines()]


def of_classes(count: int, **others: Any) -> dict[str, Any]:
    """A result whose i-th class has an AP of i thousandths; the last one has no objects."""
    classes = [
        {"class": f"class {number}", "objects": 2000, "images": 300, "box_AP": number / 1000, "box_AP50": 0.5}
        for number in range(count - 1)
    ]
    classes.append({"class": "\x1b[31mnone", "objects": 0, "images": 0, "box_AP": None, "box_AP50": None})
    val = {"objects": 2000 * count, "photographs": 1234}
    return {"by_class": classes, "protocol": {"val": val}, "results": {"box": {}, "voc": {}}, **others}


def test_objects_and_images_of_each_class_are_counted() -> None:
    box = [0.0, 0, 9, 9]
    labels = labels_of(
        [[box] * 4, [], [box]], [[1, 1, 3, 3], [], [3]], classes=3, crowd=[[False, False, True, False], [], [False]]
    )
    results = {"box": {"AP_by_class": [0.5, None, 0.25], "AP50_by_class": [0.7, None, 0.3]}}
    first, second, third = figures_by_class(labels, results)
    assert first == {"class": "class 0", "objects": 2, "images": 1, "box_AP": 0.5, "box_AP50": 0.7}
    assert second == {"class": "class 1", "objects": 0, "images": 0, "box_AP": None, "box_AP50": None}
    assert (third["objects"], third["images"]) == (2, 2)


def test_the_best_class_comes_first_and_long_lists_are_bounded() -> None:
    few = shown(format_classes(of_classes(6)))
    assert few[0] == "AP by class (%): 12,000 objects in 1,234 validation images"
    assert [line.split()[1] for line in few[4:9]] == ["4", "3", "2", "1", "0"]
    assert few[4].split() == ["class", "4", "2,000", "300", "0.4", "50.0"]
    assert few[-1] == r"Without an object in the validation images: \x1b[31mnone."
    many = shown(format_classes(of_classes(81)))
    rows = [line for line in many if line.startswith("class ") and "2,000" in line]
    assert [row.split()[1] for row in rows] == [str(n) for n in (*range(79, 64, -1), *range(9, -1, -1))]
    assert "... 55 more" in "\n".join(many)
    assert "The best and the worst of 81 classes; metrics.json has all." in many


def test_baselines_stand_beside_at_80_columns() -> None:
    beside = {"random_init": {"by_class": [{"class": "class 4", "box_AP": 0.123}]}, "initial": {}}
    lines = shown(format_classes(of_classes(6, beside=beside)))
    row = next(line for line in lines if line.startswith("class 4"))
    assert row.split() == ["class", "4", "2,000", "300", "0.4", "50.0", "12.3", "-"]


def test_enough_iterations() -> None:
    assert enough_iterations(117_266, 16) == 88_000  # COCO's 1x schedule has 90,000
    assert enough_iterations(100, 8) == 1_000
    assert enough_iterations(699, 8) == 1_100


@pytest.mark.parametrize(
    ("precision", "iterations", "sentence"),
    [
        (0.0004, 20, "AP 0.0 after 0.2 passes over 800 images: train longer, about 1,200 iterations (--iter"),
        (0.049, 1199, "AP 4.9 after 12.0 passes over 800 images: train longer"),
        (0.01, 1200, "AP 1.0 after 12.0 passes over 800 images: not for lack of training; compare labels"),
        (0.05, 20, None),
        (None, 20, None),
    ],
)
def test_a_short_training_is_named(precision: float | None, iterations: int, sentence: str | None) -> None:
    protocol = {"train": {"photographs_with_objects": 800}, "batch_size": 8, "iterations": iterations}
    remark = remark_on_length(protocol, {"box": {"AP": precision}})
    assert (remark is None) == (sentence is None)
    assert sentence is None or str(remark).startswith(sentence)
