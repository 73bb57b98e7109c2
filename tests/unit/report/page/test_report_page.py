"""The report as a whole: safe and whole in itself, with the figures of the files, whatever they hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from manyview.errors import UserError
from manyview.report.page import write_report
from manyview.runs.figures import MULTI_LABEL_LEGEND
from tests.helpers.pages import Page, check_page
from tests.helpers.reports import (
    STEPS,
    write_detector,
    write_linear,
    write_neighbors,
    write_probe,
    write_run,
)
from tests.helpers.tiny import write_images

HOSTILE = "<script>alert(1)</script>"
CLASSES = [f"cat{HOSTILE}", 'dog" onload="x', "\x1b[31mred", "\u202eturned", "plain & simple"]
NAMES = ["a<img src=x onerror=alert(1)>.jpg", "b'&quot;.jpg", "c\x1b[2J.jpg"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of hostile names, on images of hostile names, evaluated in classes of hostile names."""
    root = tmp_path_factory.mktemp("report")
    images = write_images(root / "images", 6)
    for name, source in zip(NAMES, sorted(images.iterdir()), strict=False):
        source.rename(images / name)
    names = sorted(each.name for each in images.iterdir())
    first = write_run(root / "runs" / f"one{HOSTILE.replace('/', '')}", images)
    second = write_run(root / "runs" / "two", images, recipe="simsiam", seed=1)
    weights = first / "backbone.safetensors"
    write_linear(root / "runs" / "linear", weights, CLASSES)
    write_linear(root / "runs" / "two-linear", second / "backbone.safetensors", CLASSES)
    write_linear(first / "knn", weights, CLASSES, verb="knn")
    write_probe(root / "runs" / "probe", weights, CLASSES)
    write_detector(root / "runs" / "boxes", weights, CLASSES)
    write_neighbors(root / "runs" / "near.png", weights, images, names)
    (first / "skipped.csv").write_text(f'image,reason\n"{HOSTILE}.jpg",cut off\n')
    return root


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[Path]:
    return sorted(each for each in (folder / "runs").iterdir() if (each / "config.json").is_file())


@pytest.fixture(scope="module")
def single(runs: list[Path], folder: Path) -> Page:
    return Page(write_report(runs[0], out=folder / "single.html", photographs=2).read_text())


@pytest.fixture(scope="module")
def both(runs: list[Path], folder: Path) -> Page:
    return Page(write_report(runs, out=folder / "both.html", photographs=1, dense_features=False).read_text())


def test_pages_are_whole_in_themselves(single: Page, both: Page) -> None:
    for page in (single, both):
        check_page(page)
        assert len(page.html) < 3_000_000


def test_names_are_shown_and_never_obeyed(single: Page, both: Page) -> None:
    for page in (single, both):
        assert "<script>alert" not in page.html
        assert "onerror" not in {name for _, attributes in page.elements for name in attributes}
        assert "\x1b" not in page.html
        assert "\u202e" not in page.html
        for name in (f"cat{HOSTILE}", 'dog" onload="x', "\\x1b[31mred", "\\u202eturned", "plain & simple"):
            assert name in page.text
    assert f"{HOSTILE}.jpg cut off" in single.text
    assert "a<img src=x onerror=alert(1)>.jpg" in single.text
    assert single.data["runs"][0]["name"] == f"one{HOSTILE.replace('/', '')}"


def test_figures_are_those_of_the_files(single: Page, folder: Path) -> None:
    content = json.loads((folder / "runs" / "linear" / "metrics.json").read_text())
    cells = single.inside("td")
    for network in content["results"].values():
        assert f"{100 * network['mAP']:.1f}" in cells
        low, high = network["intervals"]["mAP"]
        assert f"{100 * low:.1f} – {100 * high:.1f}" in cells
        for value in network["AP"]:
            assert f"{100 * value:.1f}" in cells
    assert "+3.1 mAP over random init (95 % interval -1.0 to 8.0; these images cannot tell" in single.text
    false = content["results"]["pretrained"]["false_predictions"]["beside"]
    assert f"{100 * max(share for row in false for share in row if share):.1f}" in cells
    bars = [found["aria-label"] for found in single.all("svg", role="img") if "plain & simple: " in found["aria-label"]]
    low, high = content["results"]["pretrained"]["AP_intervals"][4]
    value = content["results"]["pretrained"]["AP"][4]
    assert f"plain & simple: {100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f})" in bars


def test_every_part_is_there(single: Page) -> None:
    sections = [found["id"] for found in single.all("section")]
    expected = ["overview", "evaluations", "classes", "curves", "views", "dense", "neighbors", "detection"]
    assert sections == [*expected, "settings", "files", "commands"]
    for words in (
        "Finished: 40 of 40 steps in 1 min 00 s.",
        "No sign of collapse in 8 readings",
        "80 labeled images",
        "cosine 0.900",
        "random init",
        "manyview pretrain",
        "1 images could not be read",
        MULTI_LABEL_LEGEND,
        "--photos 2",
        "was made without --draw. This draws detections in images of a folder: manyview detect --predict ",
    ):
        assert words in single.text
    titles = [text for path, text in single.texts if path[-1:] == ("h4",)]
    assert {"Loss", "Similarity loss L_sim", "mAP as it trains, %", "Learning rate", "Waiting for data, %"} <= set(
        titles
    )
    pictures = [found["src"] for found in single.all("img")]
    assert len(pictures) == len([found for found in pictures if found.startswith("data:image/webp;base64,")])
    assert len(pictures) >= 2 * (8 + 2) + 3 * 3 + 3


def test_settings_that_differ_are_marked(both: Page) -> None:
    assert "--photos 1 --no-dense-features" in both.text
    assert "settings differ" in both.text
    marked = [
        text
        for (path, text), nearest in zip(both.texts, _classes_of_texts(both), strict=True)
        if "code" in path and "differs" in nearest
    ]
    assert "simsiam" in marked
    assert "1" in marked  # training.seed
    same = ["timm/test_resnet", str(both.data["runs"][0]["viewsPerStep"])]
    assert not set(same) & set(marked)
    names = [run["name"] for run in both.data["runs"]]
    assert all(name in both.inside("th") or name in both.inside("span") for name in names)


def _classes_of_texts(page: Page) -> list[str]:
    """The classes of the cell that each text stands in, by reading the page once more."""
    found: list[str] = []

    class Cells(Page):
        cell = ""

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            super().handle_startendtag(tag, attrs)
            if tag in ("td", "th"):
                self.cell = dict(attrs).get("class") or ""

        def handle_data(self, data: str) -> None:
            super().handle_data(data)
            found.append(self.cell)

    Cells(page.html)
    return found


def test_the_static_charts_are_named_and_drawn_from_the_same_data(both: Page) -> None:
    charts = {chart["key"]: chart for chart in both.data["charts"]}
    figures = both.all("figure", **{"class": "chart"})
    assert {found["data-key"] for found in figures if "data-key" in found} == charts.keys()
    labels = [found["aria-label"] for found in both.all("svg", role="img") if "step" in found.get("aria-label", "")]
    assert len(labels) == len(charts)
    [rate] = [label for label in labels if label.startswith("Learning rate")]
    last = charts["learning-rate"]["series"][1]
    assert f"two: from {last['y'][0]:.4g} at step {last['x'][0]} to {last['y'][-1]:.4g}"[:20] in rate
    assert last["x"][-1] == STEPS


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "{", "config.json cannot be read"),
        ("run.json", None, "run.json is missing"),
        ("metrics.jsonl", None, "metrics.jsonl is missing, so there are no curves"),
        ("metrics.jsonl", "x\n", "There are no curves yet"),
        ("health.json", "[]", "health.json cannot be read"),
        ("run.json", '{"plan": 7, "command": {"a": 1}, "versions": [], "data": null}', "the command is not recorded"),
        ("config.json", '{"views": "odd", "data": {"images": 4}, "training": []}', "not drawn"),
        ("config.json", '{"monitor": {"min_std": [1]}}', "This part cannot be shown"),
        ("best.json", '{"best": 3}', "Finished"),
        ("backbone.safetensors", "no weights", "Dense features of run are not drawn"),
    ],
)
def test_what_is_damaged_is_a_sentence(
    runs: list[Path], tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    run = Path(shutil.copytree(runs[1], tmp_path / "run"))
    (run / name).unlink(missing_ok=True)
    if content is not None:
        (run / name).write_text(content)
    count = int("not drawn" in words)
    page = Page(write_report(run, out=tmp_path / "r.html", photographs=count).read_text())
    check_page(page)
    assert words in page.text


def test_damaged_results_are_named(runs: list[Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[1], tmp_path / "run"))
    content: dict[str, Any] = write_linear(tmp_path / "linear", run / "backbone.safetensors", ["a", "b"])
    del content["results"]["pretrained"]["AP"]
    (tmp_path / "linear" / "metrics.json").write_text(json.dumps(content))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.json").write_text("{")
    page = Page(write_report(run, out=tmp_path / "r.html", photographs=0).read_text())
    assert "is damaged: evaluate the weights again." in page.text
    assert "is left out: it cannot be read" in page.text
    assert "No evaluation of these weights was found" in page.text


def test_images_that_have_moved_are_named(runs: list[Path], folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[1], tmp_path / "run"))
    config = json.loads((run / "config.json").read_text())
    config["data"]["images"] = str(tmp_path / "gone")
    (run / "config.json").write_text(json.dumps(config))
    options: dict[str, Any] = {"photographs": 1, "dense_features": False}
    gone = Page(write_report(run, out=tmp_path / "r.html", **options).read_text())
    assert "--images names the folder" in gone.text
    assert gone.all("img") == []
    found = Page(write_report(run, out=tmp_path / "r.html", images=folder / "images", **options).read_text())
    assert len(found.all("img")) == 2


def test_mistakes_are_one_sentence(runs: list[Path], folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    mistakes: list[tuple[Any, dict[str, Any], str]] = [
        (tmp_path / "none", {}, r"none does not exist: name the folder of a run"),
        (tmp_path, {}, r"holds no run; name the --out folder of manyview pretrain"),
        (folder / "runs", {}, r"holds no run: it holds the runs one.*, two; name"),
        (folder / "runs" / "linear", {}, r"holds an evaluation, not a run: name the run that it measured"),
        ([runs[0], runs[0]], {}, r"is named twice"),
        ([], {}, r"from one to 8 runs, not 0"),
        (runs[0], {"photographs": 13}, r"--photos must be from 0 to 12, not 13"),
        (runs[0], {"out": tmp_path}, r"is a folder: name the file"),
        (runs[0], {"out": tmp_path / "r.pdf"}, r"must end in \.html"),
        (runs[0], {"images": tmp_path / "gone"}, r"--images .*gone does not exist"),
        (runs[0], {"evaluations": [tmp_path / "gone"]}, r"--evaluations .*gone does not exist"),
        (runs[0], {"evaluations": [tmp_path]}, r"holds no metrics\.json"),
    ]
    for given, options, words in mistakes:
        with pytest.raises(UserError, match=words):
            write_report(given, **{"out": out, **options})
    assert not out.exists()
    out.write_text("<p>mine")
    with pytest.raises(UserError, match="was not written by manyview report"):
        write_report(runs[0], out=out, photographs=0)
    assert out.read_text() == "<p>mine"
    out.unlink()
    for _ in range(2):  # its own page is written anew
        write_report(runs[0], out=out, photographs=0)
    assert out.stat().st_size > 10_000
