"""The figures of a comparison as CSV, one in a line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

COLUMNS = ("group", "network", "fraction", "images", "metric", "class", "mean", "std", "n", "difference")


def as_csv(result: dict[str, Any]) -> str:
    """What ``compare`` returns, a line for each group, metric and class.

    Figures are fractions of 1 in all digits. Empty are "class" for figures over all classes, "fraction" and "images"
    where labels do not vary, and what is undefined: "std" of a single figure, "difference" of the baseline.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_lines(result))
    return text.getvalue()


def _lines(result: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    classes = result["protocol"]["classes"]
    for row in result["results"]:
        head = (row["group"], row["network"], row["fraction"], row["images"])
        for metric, entry in row["summary"].items():
            difference = None if row["difference"] is None else row["difference"].get(metric)
            if not isinstance(entry["mean"], list):
                yield (*head, metric, "", entry["mean"], entry["std"], entry["n"], difference)
                continue
            differences = difference or [None] * len(classes)
            for cells in zip(classes, entry["mean"], entry["std"], differences, strict=True):
                name, mean, std, own = cells
                yield (*head, metric, name, mean, std, entry["n"], own)
