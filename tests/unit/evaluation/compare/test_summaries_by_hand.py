"""Means over draws and evaluations, and notes on intervals, of figures that were written by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manyview.evaluation.compare.group import Group
from manyview.evaluation.compare.read import TYPES, Evaluation, Point
from manyview.evaluation.compare.summary import summary_rows
from manyview.evaluation.compare.tables import ComparisonTable, _overall

OTHERS = ("OP", "OR", "OF1", "CP", "CR", "CF1")


def drawn(weights: str, *means: float) -> Evaluation:
    """A low-label evaluation of some weights with a mAP for each draw of a tenth of the labels."""
    [probe] = (each for each in TYPES if each.tag == "probe")
    point = Point(0.1, 8, tuple({"mAP": mean} for mean in means))
    return Evaluation(Path(weights), probe, {"weights_sha256": weights}, {"pretrained": (point,)})


def test_each_evaluation_of_a_group_counts_with_the_mean_of_its_draws() -> None:
    several = Group("several", (drawn("a", 0.2, 0.4), drawn("b", 0.5, 0.9)))
    single = Group("single", (drawn("c", 0.1, 0.3),))

    first, second = summary_rows([several, single], "several")

    assert first["summary"]["mAP"] == {"mean": pytest.approx(0.5), "std": pytest.approx(0.4 / math.sqrt(2)), "n": 2}
    assert second["summary"]["mAP"] == {"mean": pytest.approx(0.2), "std": pytest.approx(0.2 / math.sqrt(2)), "n": 2}
    assert (first["over"], second["over"]) == ("evaluations", "draws")
    assert first["difference"] is None
    assert second["difference"]["mAP"] == pytest.approx(-0.3)


def test_a_baseline_is_in_common_only_where_all_groups_have_it() -> None:
    """A group at another size, say, that does without has no figure of it."""
    both, without = ([Group(name, (drawn(name, 0.2),)) for name in names] for names in (("a", "b"), ("c",)))
    both = [
        replace(
            group,
            members=tuple(
                replace(own, points={**own.points, "random_init": own.points["pretrained"]}) for own in group.members
            ),
        )
        for group in both
    ]

    assert [row["group"] for row in summary_rows(both, "a")] == ["a", "b", None]
    assert [row["group"] for row in summary_rows([*both, *without], "a")] == ["a", "b", "c", "a, b"]


def test_intervals_overlap_where_they_share_a_point_on_either_side() -> None:
    ends = {
        "base": (0.4, 0.6),
        "below": (0.1, 0.3),
        "at its foot": (0.2, 0.4),
        "within": (0.45, 0.5),
        "above": (0.7, 0.9),
    }
    rows: list[dict[str, Any]] = [
        {
            **{"group": name, "network": "pretrained", "fraction": None, "over": None},
            **{"intervals": {"mAP": list(pair)}, "difference": None if name == "base" else {"mAP": 0.0}},
            "summary": {metric: {"mean": sum(pair) / 2, "std": None, "n": 1} for metric in ("mAP", *OTHERS)},
        }
        for name, pair in ends.items()
    ]
    protocol = {
        "title": "",
        "headline": [],
        "shared": {},
        "baseline": "base",
        "classes": ["a"],
        "val": {"positives": [1]},
    }

    table: ComparisonTable = _overall({"results": rows, "protocol": protocol, "groups": {}})

    assert table.below[1:] == (
        "These overlap that of base: at its foot, within.",
        "These do not overlap that of base: below, above.",
    )
