"""A table in words: parts for several instruments, deviations, published figures, shares."""

from __future__ import annotations

import csv
from typing import Any

from manyview.recipes.reproduce.formats import to_csv, to_markdown


def figures(mean: float, std: float | None, seeds: int) -> dict[str, Any]:
    return {"mean": mean, "std": std, "seeds": seeds}


ROW: dict[str, Any] = {
    **{"name": "a", "recipe": "paper", "weights": None, "note": "", "left_out": "", "share": 0.5},
    **{"views": 128.0, "images": 16.0, "steps": 4.0, "hours": 12.4, "paper": {"gamp mAP": 0.543}},
    "measured": {
        "logistic": {"gamp mAP": figures(0.5, 0.0123, 3)},
        "released": {"gamp mAP": figures(0.25, None, 1)},
        "knn": {"near mAP": figures(0.4, 0.001, 2)},
    },
}
RESULT: dict[str, Any] = {
    **{"title": "T", "source": "somebody", "notes": [], "scale": "small", "scale_title": "quick", "failed": {}},
    "equal": {"what": "views", "amount": 256.0},
    "images": {"folder": "photos", "count": 16, "which": "all of the folder"},
    "columns": [
        {"title": "gamp mAP", "evaluation": "gamp", "metric": "mAP"},
        {"title": "near mAP", "evaluation": "near", "metric": "mAP"},
    ],
    "instruments": {"gamp": ["logistic", "released"], "near": ["knn"]},
    "rows": [ROW],
}


def test_each_instrument_has_its_part_with_its_own_figures() -> None:
    lines = to_markdown(RESULT).splitlines()
    start = lines.index("Measured by logistic, knn:")
    assert lines[start + 2 :][:3] == [
        "| row | gamp mAP | near mAP | views | images | hours | seeds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| a | 50.0 ± 1.2 (54.3) | 40.0 ± 0.1 | 128 | 16 | 12 | 3 |",
    ]
    start = lines.index("Measured by released:")
    assert lines[start + 2 :][:3] == [
        "| row | gamp mAP | views | images | hours | seeds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| a | 25.0 (54.3) | 128 | 16 | 12 | 1 |",
    ]
    assert "- A share of 0.5 of that: a." in lines
    assert "- Equal: every row sees as many views: 256 views for a whole one; each has its own schedule" in str(lines)


def test_every_figure_has_a_line_in_full_precision() -> None:
    lines = [*csv.DictReader(to_csv(RESULT).splitlines())]
    assert [tuple(line[name] for name in ("instrument", "column", "mean", "std", "seeds")) for line in lines] == [
        ("logistic", "gamp mAP", "0.5", "0.0123", "3"),
        ("released", "gamp mAP", "0.25", "", "1"),
        ("knn", "near mAP", "0.4", "0.001", "2"),
    ]
    assert [line["paper"] for line in lines] == ["0.543", "0.543", ""]
    assert {(line["views"], line["images"], line["steps"], line["hours"]) for line in lines} == {
        ("128.0", "16.0", "4.0", "12.4")
    }
