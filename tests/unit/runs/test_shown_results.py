"""Runs and results as Python and notebooks show them: short, and with names that are not obeyed."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from manyview.evaluation import StoredFeatures
from manyview.export import Exported
from manyview.export.checking import Check
from manyview.runs import RunFolder
from manyview.runs.result import Result
from tests.helpers.tiny import photos, train_tiny

__all__ = ["photos"]

LINEAR = {
    "evaluation": "linear",
    "protocol": {"backbone": "resnet18", "classes": ["a", "b"]},
    "results": {
        "pretrained": {"mAP": 0.3049, "AP": [0.1, 0.5], "OF1": 0.5, "CF1": None, "rules": {}},
        "random_init": {"mAP": 0.181, "AP": [0.1, 0.2], "OF1": 0.25, "CF1": 0.125},
    },
}
PROBE = {"evaluation": "probe", "protocol": {}, "results": {"pretrained": [{"summary": {"mAP": {"mean": 0.5}}}]}}
CHECK = {"evaluation": "label-free", "protocol": {}, "results": {"initial": {"features": {"rankme": 31.25, "dim": 9}}}}
DETECT = {"protocol": {"architecture": "c4", "backbone": "resnet50"}, "results": {"box": {"AP": 0.25, "AP50": None}}}
COMPARE = {"evaluation": "compare", "results": [{"group": "a", "network": "x", "summary": {"mAP": {"mean": 0.1}}}]}


class Cells(HTMLParser):
    """The texts of a page by tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (LINEAR, "<linear of resnet18: pretrained: mAP 30.5, OF1 50.0; random_init: mAP 18.1, OF1 25.0, CF1 12.5>"),
        (PROBE, "<probe: pretrained: mAP 50.0>"),
        (CHECK, "<label-free: initial: rankme 31.25>"),
        (DETECT, "<detection of resnet50: box: AP 25.0>"),
        (COMPARE, "<compare: a, x: mAP 10.0>"),
        ({}, "<result>"),
        ({"results": [1], "protocol": None}, "<result>"),
    ],
)
def test_a_result_is_a_dictionary_that_shows_its_headline(content: dict[str, Any], shown: str) -> None:
    result = Result(content)
    assert repr(result) == shown
    assert result == content
    assert json.loads(json.dumps(result)) == json.loads(json.dumps(content))


def test_a_checkpoint_with_a_result_is_read_as_weights_are() -> None:
    file = io.BytesIO()
    torch.save({"weights": torch.ones(2), "result": Result(LINEAR)}, file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["result"] == LINEAR


def test_a_notebook_shows_a_table_of_the_figures() -> None:
    cells = Cells(Result(LINEAR)._repr_html_())
    assert [text for text in cells.texts if text.strip()] == [
        *("linear of resnet18", "mAP", "OF1", "CF1"),
        *("pretrained", "30.5", "50.0", "random_init", "18.1", "25.0", "12.5"),
    ]


def test_names_are_escaped() -> None:
    bad = "<script>\x1b[31m"
    result = Result(evaluation=bad, protocol={"backbone": bad}, results={bad: {"mAP": 0.5}})
    assert "\x1b" not in repr(result)
    page = result._repr_html_()
    assert "script" not in Cells(page).tags
    assert page.count("&lt;script&gt;\\x1b[31m") == 3
    assert "<script" not in RunFolder(Path("<script>"))._repr_html_()


def test_exports_and_features_are_short() -> None:
    check = Check(122, 122, "weights", 0.0, 0.0, "timm")
    assert repr(Exported("timm", Path("a.pth"), Path("a.json"), check, "lines")) == (
        "<export to timm: 'a.pth', 122 of 122 match>"
    )
    maps = np.zeros((2, 3, 3, 4), np.float16)
    stored = StoredFeatures(("a.jpg", "b.jpg"), np.zeros((2, 2), int), maps[:, 0, 0], maps, {})
    assert repr(stored) == "<features of 2 images: (2, 4) float16, patches (2, 3, 3, 4)>"


def test_a_run_shows_what_it_is_and_how_far(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert repr(RunFolder(out)) == f"<run '{out}'>"
    run = train_tiny(photos, out, backbone="timm/test_resnet", epochs=1)
    assert repr(run) == f"<run '{out}': paper, timm/test_resnet, step 4 of 4>"
    cells = Cells(run._repr_html_()).texts
    assert cells[0] == f"Run {out}"
    assert dict(zip(cells[1::2], cells[2::2], strict=True)).items() >= {"images": "16", "step": "4 of 4"}.items()
    for damaged in ("run.json", "config.json", "backbone.safetensors"):
        (out / damaged).write_bytes(b"\xff[")
    assert repr(run) == f"<run '{out}'>"
