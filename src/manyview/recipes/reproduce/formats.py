"""A table as Markdown and CSV, and its plan for a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from manyview.terminal import in_markdown

EQUAL = {
    "views": "every row sees as many views",
    "images": "every row sees as many images, each with all its views",
    "steps": "every row takes as many optimizer steps",
    "time": "every row trains for as long, by the pace measured on this machine",
    "own": "each row is as long as in its source",
}


def to_markdown(result: Mapping[str, Any]) -> str:
    """The table of ``gather`` with a part for each instrument; published figures in parentheses, all in percent."""
    lines = [f"# {result['title']}", ""]
    if result["source"]:
        lines += [f"Published figures, in parentheses: {result['source']}.", ""]
    for names, titles in _parts(result):
        lines += [*_part(result, names, titles), ""]
    lines += [*notes(result), ""]
    return "\n".join(lines)


def notes(result: Mapping[str, Any]) -> list[str]:
    """Sentences on what is equal, on the images, and on what is missing, as a list."""
    equal, images = result["equal"], result["images"]
    amount = "" if equal["amount"] is None else f": {equal['amount']:,.6g} {_UNITS[equal['what']]} for a whole one"
    lines = [
        f"- Equal: {EQUAL[equal['what']]}{amount}; each has its own schedule, annealed to its end.",
        f"- Scale `{result['scale']}`: {result['scale_title']}.",
        f"- {images['count']:,} images for pre-training, {images['which']}.",
    ]
    lines[1:1] = _shares(result)
    lines += [f"- {note.rstrip('.')}." for note in result["notes"]]
    for row in result["rows"]:
        lines += [f"- {row['name']}: {row['note'].rstrip('.')}."] if row["note"] else []
    lines += [f"- {text}" for text in left_out((row["name"], row["left_out"]) for row in result["rows"])]
    lines += [f"- Failed: {name}: {error}" for name, error in result["failed"].items()]
    return lines


def _shares(result: Mapping[str, Any]) -> Iterator[str]:
    """Which rows get less than a whole one."""
    if result["equal"]["amount"] is None:
        return
    by_share: dict[float, list[str]] = {}
    for row in result["rows"]:
        if row["share"] < 1:
            by_share.setdefault(row["share"], []).append(row["name"])
    for share, names in by_share.items():
        yield f"- A share of {share:g} of that: {'; '.join(names)}."


def left_out(rows: Iterable[tuple[str, str]]) -> list[str]:
    """What is left out, of names of rows and the reasons, with the rows of each reason together."""
    found: dict[str, list[str]] = {}
    for name, reason in rows:
        if reason:
            found.setdefault(reason, []).append(name)
    return [f"Left out: {'; '.join(names)} ({reason})." for reason, names in found.items()]


_UNITS = {"views": "views", "images": "images", "steps": "steps", "time": "hours"}


def _parts(result: Mapping[str, Any]) -> Iterator[tuple[dict[str, str], list[str]]]:
    """For each table within the table: the instrument of each evaluation, and the columns."""
    by_evaluation = result["instruments"]
    several = max((len(names) for names in by_evaluation.values()), default=0)
    for index in range(several):
        chosen = {evaluation: names[index] for evaluation, names in by_evaluation.items() if index < len(names)}
        yield chosen, [column["title"] for column in result["columns"] if column["evaluation"] in chosen]


def _part(result: Mapping[str, Any], chosen: Mapping[str, str], titles: Sequence[str]) -> Iterator[str]:
    named = {column["title"]: chosen.get(column["evaluation"]) for column in result["columns"]}
    instruments = dict.fromkeys(chosen.values())
    if max(len(names) for names in result["instruments"].values()) > 1:
        yield f"Measured by {', '.join(instruments)}:"
        yield ""
    yield f"| row | {' | '.join(titles)} | views | images | hours | seeds |"
    yield "| --- |" + " ---: |" * (len(titles) + 4)
    for row in result["rows"]:
        cells = [cell(row, str(named[title]), title) for title in titles]
        counts = [_count(row["views"]), _count(row["images"]), hours_in_words(row["hours"]), _seeds(row, named)]
        yield f"| {in_markdown(row['name'])} | {' | '.join([*cells, *counts])} |"


def cell(row: Mapping[str, Any], instrument: str, title: str) -> str:
    """Mean, deviation and the published figure, in percent: ``54.1 ± 0.3 (54.3)``."""
    found = row["measured"].get(instrument, {}).get(title, {})
    mean, std, paper = found.get("mean"), found.get("std"), row["paper"].get(title)
    parts = ["" if mean is None else f"{100 * mean:.1f}"]
    if std is not None:
        parts.append(f"± {100 * std:.1f}")
    if paper is not None:
        parts.append(f"({100 * paper:.1f})")
    return " ".join(part for part in parts if part)


def _seeds(row: Mapping[str, Any], named: Mapping[str, str | None]) -> str:
    counts = {
        row["measured"][str(instrument)][title]["seeds"]
        for title, instrument in named.items()
        if title in row["measured"].get(str(instrument), {})
    }
    return f"{max(counts)}" if counts and max(counts) else ""


def _count(number: float | None) -> str:
    return "" if not number else f"{number:,.0f}"


def hours_in_words(hours: float | None) -> str:
    """Two digits; nothing for none."""
    return "" if not hours else f"{hours:.2g}" if hours < 10 else f"{hours:,.0f}"


_FIELDS = (
    "row",
    "recipe",
    "instrument",
    "column",
    "mean",
    "std",
    "seeds",
    "paper",
    "views",
    "images",
    "steps",
    "hours",
)


def to_csv(result: Mapping[str, Any]) -> str:
    """A line for each row, instrument and column; figures as fractions of 1 in full precision."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in result["rows"]:
        always = {"row": row["name"], "recipe": row["recipe"] or row["weights"]}
        always |= {name: row[name] for name in ("views", "images", "steps", "hours")}
        for column in result["columns"]:
            title = column["title"]
            for instrument in result["instruments"][column["evaluation"]] or [""]:
                found = row["measured"].get(instrument, {}).get(title, {})
                figures = {name: found.get(name) for name in ("mean", "std", "seeds")}
                writer.writerow(
                    {**always, "instrument": instrument, "column": title, **figures, "paper": row["paper"].get(title)}
                )
    return out.getvalue()
