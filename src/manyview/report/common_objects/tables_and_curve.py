"""Tables of the count, for a terminal and row by row for a page, and its curve as a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table
from rich.text import Text

from manyview.report.sheet import INK, PALE

NAMES = {
    "usual": "usual",
    "blocks": "blocks",
    "control": "same scale",
    "moved": "same size",
}
_STYLES = {  # color, line, marker, label
    "blocks": ("#D55E00", "-", "o", NAMES["blocks"]),
    "control": ("#0072B2", "--", "s", f"control: {NAMES['control']}"),
    "moved": ("#009E73", "-.", "^", f"control: {NAMES['moved']}"),
}
_PANEL, _HEIGHT, _DPI = 3.6, 4.1, 150  # inches, inches, dots an inch


@dataclass(frozen=True)
class CountTable:
    """A table of formatted cells.

    Attributes:
        title: of the table.
        header: names of the columns; the first holds words, the others numbers.
        sections: rows in groups.
    """

    title: str
    header: tuple[str, ...]
    sections: tuple[tuple[tuple[str, ...], ...], ...]


def format_count(result: dict[str, Any]) -> Group:
    """The count of ``metrics.json`` as tables for ``rich.console.Console.print``."""
    # Separate lines, as a table's title and caption would be wrapped to its width.
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


def text_tables(result: dict[str, Any]) -> tuple[CountTable, CountTable]:
    """Tables of all croppings and of their differences, in percent."""
    share = result["protocol"]["share"]
    some_without = result["protocol"]["photographs"] > result["protocol"]["with_objects"]
    header = ("cropping", "overlap", "area", "IoU", "common", "95 %", "objects", "different")
    sections: dict[float | None, list[tuple[str, ...]]] = {}
    for row in result["results"]:
        sections.setdefault(row["overlap"], []).append(_cropping_row(row, share, some_without))
    common = f"at least {100 * share:g} % of an object's box inside both crops"
    return (
        CountTable(
            f"Positive pairs that show a common object: {common}",
            (*header, "of all") if some_without else header,
            tuple(map(tuple, sections.values())),
        ),
        CountTable(
            "Blocks minus controls: pairs that show a common object (points)",
            ("overlap", f"minus {NAMES['control']}", f"minus {NAMES['moved']}"),
            (tuple(_difference_rows(result, share)),),
        ),
    )


def notes(result: dict[str, Any]) -> list[str]:
    """Sentences on the columns, and on the images that the means are over."""
    protocol = result["protocol"]
    images, with_objects = protocol["photographs"], protocol["with_objects"]
    crowds = f", without {protocol['crowds_left_out']:,} crowds" if protocol["crowds_left_out"] else ""
    epochs = protocol["epochs"]
    lines = [
        f"Means over the pairs of {with_objects:,} images with {protocol['objects']:,} objects{crowds}; seed "
        f"{protocol['seed']}, epochs {epochs[0]} to {epochs[-1]}. Intervals: 95 %, bootstrap over images.",
        "usual: crops of the whole image. Controls for blocks: same scale, crops of the whole image, in as "
        "many pairs and drawn from the range of areas that the blocks' crops are drawn from; same size, the blocks' "
        "own crops, each moved to a random position in the image.",
        "area: of a crop, as a share of the image's (%). IoU: of the two crops (%). common: pairs that show a "
        "common object (%). objects: common objects a pair. different: pairs each of whose views shows an object, but "
        "none in common (%).",
    ]
    if images > with_objects:
        lines.append(f"of all: common, over all {images:,} images, those without an object included.")
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


def draw_curve(result: dict[str, Any]) -> bytes:
    """Plot the share of pairs with a common object against the overlap, as a PNG with a panel per share of a box.

    Args:
        result: the content of ``metrics.json``.
    """
    shares = sorted(result["protocol"]["shares"])
    figure = Figure(figsize=(0.6 + _PANEL * len(shares), _HEIGHT), dpi=_DPI, layout="constrained")
    panels = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    for axes, share in zip(panels, shares, strict=True):
        _draw_share(axes, result, share)
    panels[0].set_ylabel("pairs that show a common object (%)", color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.suptitle(
        f"Positive pairs with a common object, {result['protocol']['with_objects']:,} images",
        fontsize=12,
        fontweight="bold",
        color=INK,
    )
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _draw_share(axes: Axes, result: dict[str, Any], share: float) -> None:
    """Draw a panel: a line for each type of cropping with overlaps, a level for the usual one."""
    for name, (color, line, marker, label) in _STYLES.items():
        points = [
            (row["overlap"], entry["common"], *entry["common_interval"])
            for row in result["results"]
            for entry in row["with_objects"]["shares"]
            if row["cropping"] == name and entry["share"] == share
        ]
        overlaps, *heights = zip(*sorted(points), strict=True)
        means, lows, highs = ([100 * height for height in column] for column in heights)
        axes.plot(overlaps, means, color=color, linestyle=line, marker=marker, markersize=4, label=label)
        axes.fill_between(overlaps, lows, highs, color=color, alpha=0.15, linewidth=0)
    usual = next(row for row in result["results"] if row["cropping"] == "usual")
    level = next(entry["common"] for entry in usual["with_objects"]["shares"] if entry["share"] == share)
    axes.axhline(100 * level, color=INK, linewidth=1.2, linestyle=":", label=NAMES["usual"])
    axes.set_title(f"at least {100 * share:g} % of a box in both crops", fontsize=9.5, color=INK)
    axes.set_xlabel("overlap of the blocks", color=INK)
    axes.set_ylim(0, 100)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.tick_params(colors=PALE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b0b0b0")
