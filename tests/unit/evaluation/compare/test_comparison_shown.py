"""A comparison as tables and as a picture."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image
from rich.console import Console

from manyview.evaluation.compare import compare, format_comparison
from manyview.evaluation.compare.figure import draw_comparison
from manyview.evaluation.compare.group import unique_names
from manyview.evaluation.compare.tables import as_markdown

KNN = "multi-label classification by the nearest neighbours of a frozen backbone's features"
PROBE = "one-vs-rest linear classification on a frozen backbone's features of some training photographs"
METRICS = ("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1")


def report(level: float, aps: list[float | None], interval: tuple[float, float] | None = None) -> dict[str, Any]:
    figures = {**dict.fromkeys(METRICS, level), **dict.fromkeys(("AP", "precision", "recall", "f1"), aps)}
    return figures if interval is None else {**figures, "intervals": {"mAP": interval}}


def write(folder: Path, classes: list[str], results: Any, **protocol: Any) -> Path:
    val = {"count": 100, "positives": list(range(len(classes))), "ignored": [0] * len(classes)}
    kind = PROBE if isinstance(results["pretrained"], list) else KNN
    basis = {
        "evaluation": kind,
        "weights": f"{folder}.pth",
        "weights_sha256": str(folder),
        "classes": classes,
        "val": val,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps({"protocol": {**basis, **protocol}, "results": results}))
    return folder


def printed(result: dict[str, Any], width: int = 80, classes: int | None = 20) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(format_comparison(result, classes))
    return console.file.getvalue()


def cells(text: str, first: str) -> list[str]:
    """The cells of the first row that begins so."""
    line = next(line for line in text.splitlines() if line.strip("│| ").startswith(first))
    return [cell.strip() for cell in re.split("[│|]", line.strip("│| "))]


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, Any]:
    """Groups of two and of one, over four classes, of which one has no positives."""
    classes = ["cat", "[bold]dog", "a|b_c", "none"]
    write(tmp_path / "old" / "s0", classes, {"pretrained": report(0.30, [0.1, 0.5, 0.3, None])}, seed=0)
    write(tmp_path / "old" / "s1", classes, {"pretrained": report(0.34, [0.3, 0.5, 0.3, None])}, seed=1)
    write(tmp_path / "new", classes, {"pretrained": report(0.40, [0.5, 0.4, 0.3, None])}, size=64)
    return compare([tmp_path / "old", tmp_path / "new"])


def test_figures_in_percent(pair: dict[str, Any]) -> None:
    text = printed(pair)
    assert cells(text, "old") == ["old", *["32.0"] * 7, "2"]
    assert text.count("±2.8") == 7  # the standard deviation of 30 and 34
    assert cells(text, "new") == ["new", *["40.0"] * 7, "1"]
    assert cells(text.partition("Difference to old")[2], "new") == ["new", *["+8.0"] * 7]
    assert "Warning: size is unset (old), 64 (new)" in text
    assert max(map(len, text.splitlines())) <= 80


def test_classes_fall_from_the_largest_gain_to_the_largest_loss(pair: dict[str, Any]) -> None:
    text = printed(pair).partition("Average precision")[2]
    rows = [cells(text, name) for name in ("cat", "a|b_c"[:1], "[bold]dog", "none")]
    assert rows[0] == ["cat", "0", "20.0", "+30.0"]
    assert rows[2] == ["[bold]dog", "1", "50.0", "-10.0"]
    assert rows[3] == ["none", "3", "-", "-"]
    places = [text.index(name) for name in ("cat", "a|b_c", "[bold]dog", "none")]
    assert places == sorted(places)


def test_the_classes_that_differ_most(pair: dict[str, Any]) -> None:
    text = printed(pair, classes=2)
    assert "the 2 of 4 classes that differ most" in " ".join(text.split())
    assert "cat" in text
    assert "[bold]dog" in text
    assert "a|b_c" not in text
    assert "none" not in text


def test_markdown_has_all_classes_and_bold_for_the_best(pair: dict[str, Any]) -> None:
    text = as_markdown(pair)
    assert "| new | **40.0** |" in text
    assert "| old | 32.0 ±2.8 |" in text
    assert "| a\\|b\\_c | 2 | 30.0 | +0.0 |" in text
    assert "- **Warning:** size is unset (old), 64 (new)" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert "s1/metrics.json" in tables[-1]


def test_intervals_and_whether_they_overlap(tmp_path: Path) -> None:
    ends = {"base": (0.25, 0.35), "near": (0.34, 0.5), "far": (0.36, 0.5)}
    places = [
        write(tmp_path / name, ["cat"], {"pretrained": report(0.3, [0.3], interval)}) for name, interval in ends.items()
    ]
    text = " ".join(printed(compare(places)).split())
    assert "95 % intervals of mAP over images: base 25.0–35.0; near 34.0–50.0; far 36.0–50.0." in text
    assert "These overlap that of base: near." in text
    assert "These do not overlap that of base: far." in text


def curves(tmp_path: Path, names: list[str], classes: list[str]) -> dict[str, Any]:
    places = []
    for number, name in enumerate(names):
        generator = np.random.default_rng(number)
        entries = [
            {
                "fraction": fraction,
                "images": images,
                "runs": [report(0.2 + 0.1 * number, generator.random(len(classes)).tolist()) for _ in range(draws)],
            }
            for fraction, images, draws in ((0.1, 10, 2), (1.0, 100, 1))
        ]
        places.append(write(tmp_path / name, classes, {"pretrained": entries, "random_init": entries}))
    return compare(places)


def size(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as picture:
        picture.load()
        return picture.size


def test_the_picture_grows_with_the_classes(tmp_path: Path) -> None:
    many = [f"a class with a long name, the {number}." for number in range(60)]
    result = curves(tmp_path, ["one", "another", "third", "fourth"], many)
    few, all_ = (size(draw_comparison(result, count)) for count in (20, None))
    assert few[0] == all_[0]
    assert all_[1] > few[1] + 40 * 30  # 60 classes instead of 20, each as high as a line of words


@pytest.mark.parametrize("names", [["a", "b"], [f"a group with a really long name $x_{n}$ 日本" for n in range(10)]])
def test_curves_are_drawn_whatever_the_names(tmp_path: Path, names: list[str]) -> None:
    drawn = curves(tmp_path, names, ["cat $", "犬"])
    assert draw_comparison(drawn).startswith(b"\x89PNG")
    assert "10 (10 %)" in printed(drawn)


def test_legends_have_names_that_begin_with_an_underscore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which matplotlib leaves out of a legend."""
    shown: list[list[str]] = []
    legend = Axes.legend

    def listed(axes: Axes, *given: Any, **options: Any) -> Any:
        made = legend(axes, *given, **options)
        shown.append([text.get_text().strip() for text in made.get_texts()])
        return made

    monkeypatch.setattr(Axes, "legend", listed)
    draw_comparison(curves(tmp_path, ["_old", "_new"], ["cat"]))
    assert shown[0][0] == "_old"
    assert shown[0][1] == "_new"
    assert shown[0][-1] == "chance"
    assert shown[1] == ["_new"]


def test_bars_are_drawn_with_undefined_figures(pair: dict[str, Any]) -> None:
    before = draw_comparison(pair)
    pair["results"][1]["summary"]["mAP"] = {"mean": None, "std": None, "n": 1}
    assert draw_comparison(pair) != before


def test_one_group_alone_has_no_differences(tmp_path: Path) -> None:
    for seed in range(2):
        write(tmp_path / "only" / f"s{seed}", ["cat"], {"pretrained": report(0.1 * seed, [0.5])})
    result = compare([tmp_path / "only"])
    assert "Difference" not in printed(result)
    assert draw_comparison(result).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("places", "names"),
    [
        ([["r/a-knn"], ["r/b-knn"]], ["a-knn", "b-knn"]),
        ([["r/a/knn"], ["r/b/knn"]], ["a/knn", "b/knn"]),
        ([["r/a-seed0", "r/a-seed1"], ["r/b-s0", "r/b-s1"]], ["a", "b"]),
        ([["r/seed0", "r/seed1"], ["q/x"]], ["r", "x"]),
        ([["a/seed0/knn", "a/seed1/knn"], ["b/seed0/knn", "b/seed1/knn"]], ["a/knn", "b/knn"]),
        ([["r/mists0", "r/mists1"]], ["mists"]),
        ([["r/a-s0", "r/a-s1"], ["r/a-s2", "r/a-s3"]], ["r/a", "r/a (2)"]),
    ],
)
def test_names_are_the_shortest_distinct_ones(places: list[list[str]], names: list[str]) -> None:
    found = unique_names([[Path("/", place) for place in group] for group in places])
    assert found == names
