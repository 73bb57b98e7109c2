"""The count as tables: for a terminal, and row by row for a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table
from rich.text import Text

NAMES = {
    "usual": "usual",
    "blocks": "blocks",
    "control": "same scale",
    "moved": "same size",
}


@dataclass(frozen=True)
class TextTable:
    """A table of words.

    Attributes:
        title: what it shows.
        header: names of the columns; the first holds words, the others numbers.
        sections: rows in groups.
    """

    title: str
    header: tuple[str, ...]
    sections: tuple[tuple[tuple[str, ...], ...], ...]


def format_count(result: dict[str, Any]) -> Group:
    """What ``metrics.json`` holds, for ``rich.console.Console.print``."""
    # Lines of their own: as a table's title and caption they would be broken to its width.
    lines: list[Text | Table] = []
    for text_table in text_tables(result):
        table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
        for number, name in enumerate(text_table.header):
            table.add_column(name, justify="right" if number else "left", no_wrap=True)
        for section in text_table.sections:
            for row in section:
                table.add_row(*row)
            table.add_section()
        lines += [Text(text_table.title, style="bold"), table]
    return Group(*lines, *map(Text, notes(result)))


def text_tables(result: dict[str, Any]) -> tuple[TextTable, TextTable]:
    """The table of all kinds of cropping, and that of the differences, in percent."""
    share = result["protocol"]["share"]
    some_without = result["protocol"]["photographs"] > result["protocol"]["with_objects"]
    header = ("cropping", "overlap", "area", "IoU", "common", "95 %", "objects", "different")
    sections: dict[float | None, list[tuple[str, ...]]] = {}
    for row in result["results"]:
        sections.setdefault(row["overlap"], []).append(_cropping_row(row, share, some_without))
    common = f"at least {100 * share:g} % of an object's box inside both crops"
    return (
        TextTable(
            f"Positive pairs that show a common object: {common}",
            (*header, "of all") if some_without else header,
            tuple(map(tuple, sections.values())),
        ),
        TextTable(
            "Blocks minus controls: pairs that show a common object (points)",
            ("overlap", f"minus {NAMES['control']}", f"minus {NAMES['moved']}"),
            (tuple(_difference_rows(result, share)),),
        ),
    )


def notes(result: dict[str, Any]) -> list[str]:
    """What the columns mean, and over what the means are."""
    protocol = result["protocol"]
    photographs, with_objects = protocol["photographs"], protocol["with_objects"]
    crowds = f", without {protocol['crowds_left_out']:,} crowds" if protocol["crowds_left_out"] else ""
    epochs = protocol["epochs"]
    lines = [
        f"Means over the pairs of {with_objects:,} images with {protocol['objects']:,} objects{crowds}; seed "
        f"{protocol['seed']}, epochs {epochs[0]} to {epochs[-1]}. Intervals: 95 %, bootstrap over images.",
        "usual: crops of the whole image. Controls for blocks: same scale, crops of the whole image, in as "
        "many pairs and drawn from the range of areas that the blocks' crops are drawn from; same size, the blocks' "
        "own crops, each moved to a random place in the image.",
        "area: of a crop, as a share of the image's (%). IoU: of the two crops (%). common: pairs that show a "
        "common object (%). objects: common objects a pair. different: pairs each of whose views shows an object, but "
        "none in common (%).",
    ]
    if photographs > with_objects:
        lines.append(f"of all: common, over all {photographs:,} images, those without an object included.")
    return lines


def _cropping_row(row: dict[str, Any], share: float, some_without: bool) -> tuple[str, ...]:
    means = row["with_objects"]
    at_share = _at(means["shares"], share)
    cells = (
        NAMES[row["cropping"]],
        "" if row["overlap"] is None else f"{row['overlap']:g}",
        _percent(means["area"]),
        _percent(means["iou"]),
        _percent(at_share["common"]),
        "–".join(map(_percent, at_share["common_interval"])),
        f"{at_share['objects']:.2f}",
        _percent(at_share["different"]),
    )
    return (*cells, _percent(_at(row["all"]["shares"], share)["common"])) if some_without else cells


def _difference_rows(result: dict[str, Any], share: float) -> list[tuple[str, ...]]:
    cells: dict[float, list[str]] = {}
    for row in result["differences"]:
        if row["share"] == share:
            low, high = (f"{100 * end:+.1f}" for end in row["common_interval"])
            text = f"{100 * row['common']:+.1f} [{low}, {high}]"
            cells.setdefault(row["overlap"], []).append(text)
    return [(f"{overlap:g}", *texts) for overlap, texts in cells.items()]


def _at(shares: list[dict[str, Any]], share: float) -> dict[str, Any]:
    return next(entry for entry in shares if entry["share"] == share)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"
