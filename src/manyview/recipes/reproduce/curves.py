"""Curves of pre-training, such as the paper's Figure 4, from the metrics.jsonl of the runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from manyview.recipes.reproduce.plan import TablePlan
from manyview.runs import RunFolder
from manyview.terminal import in_markdown

_MEANS = frozenset({"loss", "similarity", "image_aware"})  # over the steps since the record before
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

    Epochs are passes over the images. A loss is the mean over an epoch and stands in its middle, so that runs whose
    epochs differ in length compare. mAP is a fraction of 1. What a run did not record has no entry. "epochs" and
    "views" are those of the whole run.
    """
    assert plan.table.curves is not None
    found = []
    for planned in plan.rows:
        for seed in planned.seeds:
            if seed.run is None or not RunFolder(seed.run.folder).holds_a_run:
                continue
            records = RunFolder(seed.run.folder).read_metrics()
            size, last = seed.run.plan, max((record["step"] for record in records), default=0)
            whole = {"epochs": last / size.steps_per_epoch, "views": last * size.views_per_step}
            for quantity in plan.table.curves.quantities:
                points = [
                    (step, step / size.steps_per_epoch, step * size.views_per_step, value)
                    for step, value in _values(records, quantity)
                ]
                if points:
                    of = {"row": planned.row.name, "seed": seed.seed, "quantity": quantity}
                    found.append({**of, **whole, "points": points})
    return found


def _values(records: list[dict[str, Any]], quantity: str) -> Iterator[tuple[float, float]]:
    """Steps and values of a quantity."""
    kind, name = (_MAP_RECORD, _MAP) if quantity == "mAP" else ("epoch", quantity)
    before = 0
    for record in (record for record in records if record["kind"] == kind):
        if record.get(name) is not None:
            yield (before + record["step"]) / 2 if name in _MEANS else record["step"], float(record[name])
        before = record["step"]


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
        first, last = curve["points"][0][-1], curve["points"][-1][-1]
        name, factor = NAMES[curve["quantity"]], 100 if curve["quantity"] == "mAP" else 1
        start = f"| {in_markdown(curve['row'])} | {curve['seed']} | {name} "
        yield start + f"| {factor * first:.3f} | {factor * last:.3f} | {curve['epochs']:,.1f} | {curve['views']:,} |"
