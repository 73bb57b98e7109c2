"""The share of pairs that show a common object against the overlap of the blocks, as a picture."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from manyview.report.common_objects.table import NAMES
from manyview.report.sheet import INK, PALE

_STYLES = {  # color, line, marker, label
    "blocks": ("#D55E00", "-", "o", NAMES["blocks"]),
    "control": ("#0072B2", "--", "s", f"control: {NAMES['control']}"),
    "moved": ("#009E73", "-.", "^", f"control: {NAMES['moved']}"),
}
_PANEL, _HEIGHT, _DPI = 3.6, 4.1, 150  # inches, inches, dots an inch


def draw_curve(result: dict[str, Any]) -> bytes:
    """A PNG with a panel for each share of a box that both crops must show.

    Args:
        result: what ``metrics.json`` holds.
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
    """One panel: a line for each kind of cropping that has overlaps, a level for the usual one."""
    for kind, (colour, line, marker, label) in _STYLES.items():
        points = [
            (row["overlap"], entry["common"], *entry["common_interval"])
            for row in result["results"]
            for entry in row["with_objects"]["shares"]
            if row["cropping"] == kind and entry["share"] == share
        ]
        overlaps, *heights = zip(*sorted(points), strict=True)
        means, lows, highs = ([100 * height for height in column] for column in heights)
        axes.plot(overlaps, means, color=colour, linestyle=line, marker=marker, markersize=4, label=label)
        axes.fill_between(overlaps, lows, highs, color=colour, alpha=0.15, linewidth=0)
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
