"""The tables of evaluations: every figure in its cell, loading of the weights, and notes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console, Group
from rich.text import Text

from manyview.evaluation import format_table
from manyview.evaluation.metrics.multilabel import multilabel_report
from manyview.evaluation.network_names import table_names
from manyview.evaluation.tables import emphasize, format_knn
from manyview.runs.files import plain
from tests.helpers.tables import cells, percent

OVERALL = ("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1")
SUMMARY = "resnet18 from a checkpoint in the format of MoCo v2: 20 of 20 convolutions\nleft out: the queue (queue)"


def part(**changes: Any) -> dict[str, Any]:
    usual = {"labels": "lists/labels.csv", "count": 40, "positives": [20, 10], "ignored": [0, 0]}
    return usual | {"skipped": {"count": 0, "first": []}} | changes


def protocol(**changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "loading": {"summary": SUMMARY},
        "pool": "gamp",
        "size": 224,
        "crop": "warp",
        "cached": False,
        "flips": False,
        "epochs": 100,
        "measured": "last",
        "classes": ["[cat]", "dog"],
        "train": part(),
        "val": part(),
        "images_in_both": 0,
        "average_precision": "all_points",
        "compatibility": None,
        "neighbours": 20,
        "temperature": 0.07,
    }
    return usual | changes


def report(seed: int, resamples: int = 20) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, (40, 2))
    figures = multilabel_report(rng.random((40, 2)), targets, 0.3, resamples=resamples)
    return {**plain(figures), "measured_epoch": 90 + seed, "loss_by_epoch": [0.7, 0.6]}


def result(resamples: int = 20, **changes: Any) -> dict[str, Any]:
    results = {name: report(seed, resamples) for seed, name in enumerate(("pretrained", "random_init"))}
    return {"protocol": protocol(**changes), "results": results}


def printed(group: Any, width: int = 80) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(group)
    return stream.getvalue()


def test_names_whose_ends_are_alike_show_what_they_differ_in() -> None:
    networks = ["pretrained", "moco_v1_800ep_pretrain", "moco_v2_800ep_pretrain", "short", "another-long-name"]
    assert list(table_names(networks).values()) == [
        "pre-trained",
        "…_v1_800ep_…",
        "…_v2_800ep_…",
        "short",
        "anothe…-name",
    ]
    several = [f"resnet50-{a}-of-the-old-run-{b}-last" for a in "ab" for b in "cd"]
    assert [*table_names(several).values()] == [f"resnet50… {number}" for number in (1, 2, 3, 4)]
    assert max(map(len, table_names([*networks, *several]).values())) <= 12
    found = {**result(), "results": {name: report(seed) for seed, name in enumerate(networks)}}
    text = printed(format_table(found))
    for name in table_names(networks).values():
        assert sum(cells(line)[0] == name for line in text.splitlines() if cells(line)) == len(report(0)["rules"])
    assert "…_v1_800ep_…: mAP" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("form", [format_table, format_knn])
def test_a_row_for_each_backbone_and_rule(form: Any) -> None:
    found = result()
    lines = printed(form(found)).splitlines()
    assert max(map(len, lines)) <= 80
    for name, label in (("pretrained", "pre-trained"), ("random_init", "random init")):
        figures = found["results"][name]
        rows = [cells(line) for line in lines if line.startswith(f"│{label}│")]
        assert [row[1] for row in rows] == ["p>=0.3", "p>=0.5", "logit>=0.6", "top-3"]
        for row, of_rule in zip(rows, figures["rules"].values(), strict=True):
            shown = (figures["mAP"], *(of_rule[metric] for metric in OVERALL[1:]))
            assert row[2:] == list(map(percent, shown))
    by_class = [cells(line) for line in lines if "[cat]" in line or "│ dog" in line]
    aps = [[percent(figures["AP"][index]) for figures in found["results"].values()] for index in range(2)]
    assert by_class == [["[cat]", "20", "20", *aps[0]], ["dog", "10", "10", *aps[1]]]


@pytest.mark.parametrize("form", [format_table, format_knn])
def test_what_the_columns_mean_and_the_size_stand_below(form: Any) -> None:
    lines = printed(form(result())).splitlines()
    end = max(index for index, line in enumerate(lines) if line.startswith("└") and index < 20)
    assert lines[end + 1].startswith("mAP: mean average precision of the classes. OP, OR, OF1: precision, recall")
    assert not any("pixels a side" in line for line in lines)
    said = {"provenance": {"size": "Inputs have 96 pixels a side, as the run's views; --size takes another."}}
    assert "Inputs have 96 pixels a side" in printed(form(result() | said))


@pytest.mark.parametrize("form", [format_table, format_knn])
def test_no_figure_is_cut_in_a_terminal_of_80_columns(form: Any) -> None:
    found = result()
    for report in found["results"].values():
        report["mAP"] = 0.9996
        report["rules"]["best F1 on train"] = report["rules"].pop("p>=0.3")
        for figures in report["rules"].values():
            figures.update(dict.fromkeys(OVERALL[1:], 1.0))
    lines = printed(form(found)).splitlines()
    rows = [cells(line) for line in lines if line.startswith(("│pre-trained│", "│random init│"))]
    assert [row[2:] for row in rows] == [["100"] * 7] * 8
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("form", [format_table, format_knn])
def test_it_begins_with_how_the_weights_were_loaded(form: Any) -> None:
    assert printed(form(result()), 120).startswith(SUMMARY + "\nMulti-label ")
    assert printed(form(result(loading=None)), 120).startswith("Multi-label ")


def test_intervals_stand_below_where_there_are_any() -> None:
    found = result()
    low, high = found["results"]["pretrained"]["intervals"]["mAP"]
    sentence = f"95 % interval over images {percent(low)} to {percent(high)}."
    assert sentence in printed(format_table(found))
    assert "interval" not in printed(format_table(result(resamples=0)))


@pytest.mark.parametrize(
    ("changes", "title", "epoch"),
    [
        ({}, "gamp at 224 px, augmented images, 100 epochs", "after the last epoch (100)"),
        (
            {"cached": True, "crop": "center"},
            "gamp at 224 px, center crop, features extracted once, 100 epochs",
            "after the last epoch (100)",
        ),
        (
            {"cached": True, "flips": True, "measured": "best"},
            "gamp at 224 px, features extracted once, mirrored too, 100 epochs",
            "after the epoch of the best validation mAP (pre-trained: 90, random init: 91): these figures flatter",
        ),
    ],
)
def test_the_title_and_the_epoch_of_linear_evaluation(changes: dict[str, Any], title: str, epoch: str) -> None:
    text = printed(format_table(result(**changes)), 140)
    assert f"Multi-label linear evaluation (%): {title}\n" in text
    assert f"Evaluated {epoch}." in text


@pytest.mark.parametrize(
    ("changes", "notes"),
    [
        ({"images_in_both": 3}, ["3 of 40 validation images are also training images: these figures flatter."]),
        (
            {"images_in_both": 1, "copies_in_both": {"count": 1, "first": [["a.jpg", "b.jpg"]]}},
            ["2 of 40 validation images are also training images, 1 of them as identical files of another"],
        ),
        ({"val": part(positives=[5, 0])}, ["1 of 2 classes have no validation image: not in mAP."]),
        ({"val": part(ignored=[4, 1])}, ["5 labels of difficult objects in the validation images count neither"]),
        ({"average_precision": "voc07"}, ["AP is that of VOC 2007"]),
        ({"compatibility": "ml-gcn"}, ["OP is that of ML-GCN's code"]),
        (
            {
                "train": part(skipped={"count": 12, "first": [f"line {n} is wrong" for n in range(2, 12)]}),
                "val": part(skipped={"count": 1, "first": ["line 7 names [a].jpg, which is missing"]}),
            },
            [
                "12 label rows were left out of labels.csv: line 2 is wrong; line 3 is wrong; line 4 is wrong; ...\n",
                "1 label row was left out of labels.csv: line 7 names [a].jpg, which is missing.\n",
            ],
        ),
    ],
)
def test_notes_tell_what_the_reader_must_know(changes: dict[str, Any], notes: list[str]) -> None:
    with_changes, without = (printed(format_table(found), 160) for found in (result(**changes), result()))
    for note in notes:
        assert note in with_changes
        assert note not in without


def test_notes_that_a_reader_must_not_miss_stand_out() -> None:
    found = result(images_in_both=3, train=part(notes=["the classes have no names"]))
    for sheet in (format_table(found), format_knn(found)):
        assert isinstance(emphasize(sheet, found["protocol"]), Group)
        loud = [line.plain for line in sheet.renderables if isinstance(line, Text) and line.spans]
        assert [line.split(" ", 3)[:2] for line in loud] == [["3", "of"], ["Training", "labels:"]]
