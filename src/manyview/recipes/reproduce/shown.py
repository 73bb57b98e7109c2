"""The plan of a table and its figures, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Group, JustifyMethod
from rich.table import Table
from rich.text import Text

from manyview.recipes.reproduce.forecast import total
from manyview.recipes.reproduce.formats import EQUAL, cell, hours_in_words, left_out
from manyview.runs.progress import spell

# Columns of words are wrapped between them, so that a plan's seven columns fit a terminal of 80
_LEAST_WIDTH = {"row": 18, "state": 8}


def format_forecast(result: Mapping[str, Any]) -> Group:
    """Rows with their steps, views and hours on this machine, and what is done, of ``reproduce`` with ``dry_run``."""
    entries = result["plan"]
    table = _table("row", "seeds", "steps", "views", "training", "evaluation", "state")
    for entry in entries:
        evaluation = "?" if entry["evaluation_hours"] is None else _hours(entry["evaluation_hours"])
        sizes = ("" if entry[name] is None else f"{entry[name]:,}" for name in ("steps", "views"))
        seeds = f"{entry['seeds']}" if entry["seeds"] else ""
        table.add_row(entry["row"], seeds, *sizes, _hours(entry["hours"]), evaluation, _state(entry))
    left = total(entries, "hours_left") + total(entries, "evaluation_hours_left")
    whole = total(entries, "hours") + total(entries, "evaluation_hours")
    unknown = any(entry["evaluation_hours"] is None for entry in entries)
    more = ", and evaluations whose duration nothing tells before one is done" if unknown else ""
    lines = [
        f"Equal: {EQUAL[result['equal']['what']]}.",
        f"On this machine about {spell(3600 * whole)} in all, {spell(3600 * left)} left{more}. Nothing was trained.",
    ]
    lines += left_out((entry["row"], entry["left_out"]) for entry in entries)
    return Group(table, *map(Text, lines))


def format_result(result: Mapping[str, Any]) -> Group:
    """The drawn columns of a table by row and instrument; of curves, what they end with."""
    shown = [column for column in result["columns"] if column["title"] in result["drawn"]]
    titles = [(name, column["title"]) for column in shown for name in result["instruments"][column["evaluation"]]]
    several = len({name for name, _ in titles}) > 1
    table = _table("row", *(f"{title}, {name}" if several else title for name, title in titles), "views", "hours")
    for row in result["rows"]:
        cells = [cell(row, name, title) for name, title in titles]
        views = "" if not row["views"] else f"{row['views']:,.0f}"
        table.add_row(row["name"], *cells, views, hours_in_words(row["hours"]))
    lines = left_out((row["name"], row["left_out"]) for row in result["rows"])
    published = ["In parentheses: published figures."] if any(row["paper"] for row in result["rows"]) else []
    return Group(Text(result["title"], style="bold"), table, *map(Text, [*published, *lines]))


def _table(*names: str) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    for name in names:
        least = _LEAST_WIDTH.get(name)
        wrapped = least is not None or " " in name
        justify: JustifyMethod = "left" if least else "right"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=not wrapped, min_width=least)
    return table


def _hours(hours: float) -> str:
    return spell(3600 * hours) if hours else ""


def _state(entry: Mapping[str, Any]) -> str:
    words = {"done": "done", "begun": "begun", "new": "todo"}
    return "\n".join(f"{count} {words[name]}" for name, count in sorted(entry["state"].items()))
