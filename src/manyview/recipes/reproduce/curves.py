"""Curves of pre-training, such as the paper's Figure 4, from the metrics.jsonl of the runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from manyview.recipes.reproduce.plan import TablePlan
from manyview.runs import RunFolder
from manyview.terminal import in_markdown

_MAP_RECORD, _MAP = "quality", "logistic"  # of the backbone as it trains, by logistic regression
NAMES = {
    "loss": "total loss",
    "similarity": "similarity loss, L_sim",
    "image_aware": "image-aware loss, L_ia",
    "std": "std of normalized z, of 1/sqrt(d)",
    "rank": "effective rank of z",
    "mAP": "mAP (%), logistic regression",
}
_FIELDS = ("row", "seed", "quantity", "step", "epoch", "views", "value")


def gather_curves(plan: TablePlan) -> list[dict[str, Any]]:
    """One entry for each row, seed and quantity with "points" of (step, epoch, views, value), epochs counted from 0.

    Epochs are passes over the images; a loss is the mean over the epoch before the point. mAP is a fraction of 1. What
    a run did not record has no entry.
    """
    assert plan.table.curves is not None
    found = []
    for planned in plan.rows:
        for seed in planned.seeds:
            if seed.run is None or not RunFolder(seed.run.folder).holds_a_run:
                continue
            records = RunFolder(seed.run.folder).read_metrics()
            size = seed.run.plan
            for quantity in plan.table.curves.quantities:
                points = [
                    (step, step / size.steps_per_epoch, step * size.views_per_step, value)
                    for step, value in _values(records, quantity)
                ]
                if points:
                    found.append({"row": planned.row.name, "seed": seed.seed, "quantity": quantity, "points": points})
    return found


def _values(records: list[dict[str, Any]], quantity: str) -> Iterator[tuple[int, float]]:
    """Steps and values of a quantity; without an image-aware loss, SimSiam's total loss is L_sim."""
    kind, name = (_MAP_RECORD, _MAP) if quantity == "mAP" else ("epoch", quantity)
    for record in records:
        if record["kind"] == kind and record.get(name) is not None:
            yield record["step"], float(record[name])


def curves_to_csv(curves: list[Mapping[str, Any]]) -> str:
    """A line for each point."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _FIELDS, lineterminator="\n")
    writer.writeheader()
    for curve in curves:
        for step, epoch, views, value in curve["points"]:
            named = {name: curve[name] for name in ("row", "seed", "quantity")}
            writer.writerow({**named, "step": step, "epoch": epoch, "views": views, "value": value})
    return out.getvalue()


def curves_to_markdown(curves: list[Mapping[str, Any]]) -> Iterator[str]:
    """First and last value of each curve, as a table."""
    yield "| row | seed | quantity | first | last | epochs | views |"
    yield "| --- | ---: | --- | ---: | ---: | ---: | ---: |"
    for curve in curves:
        (_, _, _, first), (_, epochs, views, last) = curve["points"][0], curve["points"][-1]
        name, factor = NAMES[curve["quantity"]], 100 if curve["quantity"] == "mAP" else 1
        start = f"| {in_markdown(curve['row'])} | {curve['seed']} | {name} "
        yield start + f"| {factor * first:.3f} | {factor * last:.3f} | {epochs:,.1f} | {views:,} |"
