"""Figures of the report's sections, each against a result that was written by hand."""

from __future__ import annotations

import dataclasses
import html
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyview.report.page.reading.evaluations import Found
from manyview.report.page.reading.run import Run, read_run
from manyview.report.page.sections.details import settings
from manyview.report.page.sections.evaluations import classes, detection, evaluations
from manyview.report.page.sections.overview import overview
from manyview.report.page.sections.section import Material
from manyview.runs.figures import MULTI_LABEL
from tests.helpers.reports import write_run
from tests.helpers.tiny import photos

__all__ = ["photos"]

PROTOCOL: dict[str, Any] = {
    "classes": ["cat", "dog", "owl"],
    "train": {"labels": "train.csv", "count": 60, "positives": [20, 21, 22]},
    "val": {"labels": "val.csv", "count": 30, "positives": [9, 8, 4]},
}
Of = Callable[..., Material]


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read_run(write_run(tmp_path_factory.mktemp("runs") / "run", photos), "run")


@pytest.fixture
def of(run: Run) -> Of:
    """What a page of that run is made of with some results: verb, which weights, content."""

    def call(*results: tuple[str, str, dict[str, Any]]) -> Material:
        found = [
            Found(Path(f"{n}", "metrics.json"), verb, content, whose)
            for n, (verb, whose, content) in enumerate(results)
        ]
        return Material((run,), (tuple(found),))

    return call


def rows(html: object) -> list[list[str]]:
    """Texts of the cells of all rows."""
    cells = (re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL) for row in re.findall("<tr>(.*?)</tr>", str(html)))
    return [[re.sub("<.*?>", "", cell).strip() for cell in row] for row in cells]


def figures(mean: float, by_class: list[float], **more: Any) -> dict[str, Any]:
    """Of a network: mAP, and the others each a hundredth above the one before."""
    overall = {name: mean + number / 100 for number, name in enumerate(MULTI_LABEL)}
    intervals = {
        "intervals": {"mAP": [mean - 0.05, mean + 0.06]},
        "AP_intervals": [[a - 0.1, a + 0.1] for a in by_class],
    }
    return {**overall, "AP": by_class, **intervals, **more}


def linear(mean: float = 0.51) -> dict[str, Any]:
    false = {
        "rule": "p>=0.5",
        "beside": [[None, 0.5, 0.2], [0.1, None, 0.3], [0.9, 0.9, None]],
        "overall": [0.1, 0.2, 0.25],
    }
    results = {
        "random_init": figures(0.12, [0.11, 0.12, 0.13]),
        "pretrained": figures(mean, [0.61, 0.52, 0.43], false_predictions=false),
    }
    return {"protocol": PROTOCOL, "results": results}


def test_overall_figures_stand_in_their_columns(of: Of) -> None:
    head, *body = rows(evaluations(of(("linear", "last", linear()))))
    assert head == ["backbone", "mAP", "95 % interval of mAP", "OP", "OR", "OF1", "CP", "CR", "CF1"]
    assert body == [
        ["pre-trained", "51.0", "46.0 – 57.0", "52.0", "53.0", "54.0", "55.0", "56.0", "57.0"],
        ["random init", "12.0", "7.0 – 18.0", "13.0", "14.0", "15.0", "16.0", "17.0", "18.0"],
    ]


def test_labels_differ_by_what_they_say_not_by_where_they_lie(of: Of) -> None:
    def on(file: str, digest: str | None) -> dict[str, Any]:
        content = linear()
        val = {**PROTOCOL["val"], "labels": file} | ({} if digest is None else {"labels_sha256": digest})
        return {**content, "protocol": {**content["protocol"], "val": val}}

    def differ(*contents: dict[str, Any]) -> bool:
        page = str(evaluations(of(*(("linear", "last", content) for content in contents))))
        return "These protocols differ in val labels: compare with care." in page

    assert not differ(linear(), linear())
    assert differ(on("a.csv", None), on("b.csv", None))
    assert differ(on("a.csv", "1"), on("a.csv", "2"))
    assert not differ(on("a.csv", "1"), on("b/a.csv", "1"))
    assert not differ(on("a.csv", None), on("a.csv", "1"))


def test_the_command_that_evaluates_can_be_pasted(run: Run) -> None:
    page = evaluations(Material((dataclasses.replace(run, path=Path("my runs/a")),), ((),)))
    [words] = re.findall("<code>(.*?)</code>", page)
    assert shlex.split(html.unescape(words))[2:] == [
        *("my runs/a", "--images", "DIR", "--train-labels", "FILE", "--val-labels", "FILE"),
        *("--out", "my runs/a-linear"),
    ]


def test_classes_have_their_images_bars_and_baseline(of: Of) -> None:
    html = str(classes(of(("linear", "last", linear()))))
    found = rows(html)
    assert found[1:4] == [
        ["cat", "20", "9", "", "61.0", "11.0"],
        ["dog", "21", "8", "", "52.0", "12.0"],
        ["owl", "22", "4", "", "43.0", "13.0"],
    ]
    # A bar of 292 pixels from the fourth on, and the baseline's mark across it.
    for value, low, high, base in ((0.61, 0.51, 0.71, 0.11), (0.52, 0.42, 0.62, 0.12), (0.43, 0.33, 0.53, 0.13)):
        assert f'width="{round(292 * value, 1):g}"' in html
        assert f'd="M{4 + 292 * base:.1f} 0.5V13.5"' in html
        assert f'd="M{4 + 292 * low:.1f} 4.0v6M{4 + 292 * high:.1f} 4.0v6' in html


def test_telling_pairs_are_those_above_the_share_of_the_absent_class(of: Of) -> None:
    """The owl, of four validation images, says nothing about its companions."""
    found = rows(classes(of(("linear", "last", linear()))))
    start = found.index(["image shows", "predicted, but absent", "share, %", "over all, %", "difference"])
    assert found[start + 1 : start + 3] == [
        ["cat", "dog", "50.0", "20.0", "+30.0"],
        ["dog", "owl", "30.0", "25.0", "+5.0"],
    ]
    heat = found[start + 3 :]
    assert heat[0][1:] == ["cat", "dog", "owl"]
    assert heat[1:] == [["cat", "", "50", "20"], ["dog", "10", "", "30"], ["owl", "90", "90", ""]]


def test_few_labels_have_a_row_an_amount_and_the_most_stand_for_all(of: Of) -> None:
    def summary(mean: float, std: float | None) -> dict[str, Any]:
        one = {name: {"mean": mean + number / 100, "std": std} for number, name in enumerate(MULTI_LABEL)}
        return {**one, "AP": {"mean": [mean] * 3, "std": [std] * 3}}

    entries = [
        {"images": 6, "fraction": 0.1, "summary": summary(0.2, 0.013)},
        {"images": 60, "fraction": 1.0, "summary": summary(0.4, None)},
    ]
    probe = {"protocol": PROTOCOL, "results": {"pretrained": entries}}

    found = rows(evaluations(of(("probe", "last", probe))))

    assert found[1] == ["pre-trained", "40.0", "41.0", "42.0", "43.0", "44.0", "45.0", "46.0"]
    assert found[-2:] == [["pre-trained", "6", "10 %", "20.0", "± 1.3"], ["pre-trained", "60", "100 %", "40.0", ""]]
    assert rows(classes(of(("probe", "last", probe))))[1][-1] == "40.0"


def test_detectors_have_the_figures_of_each_protocol(of: Of) -> None:
    def results(by: float) -> dict[str, Any]:
        box = {"AP": 0.12 + by, "AP50": 0.3 + by, "AP75": 0.05 + by}
        box |= {"AP_by_class": [0.31, 0.22, 0.13], "AP50_by_class": [0.9, 0.9, 0.9]}
        return {"box": box, "voc": {"AP": 0.21 + by, "AP50": 0.41 + by}, "mask": {"AP": 0.15 + by, "AP50": 0.25 + by}}

    content = {"protocol": {**PROTOCOL, "architecture": "fpn"}, "results": results(0.1)}
    content["beside"] = {"random_init": {"results": results(0)}}

    found = rows(detection(of(("detect", "last", content)), []))

    assert found[0] == ["start", "box AP", "AP50", "AP75", "VOC AP50", "mask AP", "mask AP50"]
    assert found[1] == ["pre-trained", "22.0", "40.0", "15.0", "51.0", "25.0", "35.0"]
    assert found[2] == ["random init", "12.0", "30.0", "5.0", "41.0", "15.0", "25.0"]
    assert [row[-1] for row in found[4:]] == ["31.0", "22.0", "13.0"]


def test_of_settings_that_differ_those_other_than_the_first_runs_are_marked(run: Run) -> None:
    runs = tuple(
        dataclasses.replace(run, name=name, config={"training": {"seed": seed, "epochs": 2}})
        for name, seed in (("a", 0), ("b", 1), ("c", 0))
    )
    differing, *_ = (row for row in rows(settings(Material(runs, ((),) * 3))) if row[0] == "training.seed")
    assert differing[1:4] == ["0", "≠ 1", "0"]


def test_the_overview_counts_views_and_shows_the_last_weights(of: Of) -> None:
    """Of forty steps of 32 views in a minute; the linear evaluation goes before others, and the last weights do."""
    html = str(
        overview(of(("linear", "best", linear(0.71)), ("linear", "last", linear(0.51)), ("knn", "last", linear(0.3))))
    )
    text = " ".join(re.sub("<.*?>", " ", html).split())
    assert "Steps 40 2 epochs" in text
    assert "Views 1,280 21 views a second with all pauses" in text
    assert "mAP, linear 51.0 %" in text
