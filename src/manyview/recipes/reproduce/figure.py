"""Pictures of a table: bars of the measured figures beside published ones, and curves of pre-training."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from manyview.drawing import in_legend, names_as_written
from manyview.recipes.reproduce.curves import NAMES
from manyview.recipes.reproduce.formats import EQUAL
from manyview.report.sheet import INK, PALE

# Okabe and Ito's, which color-blind readers can distinguish.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A4B00", "#000000")
_DPI, _PANEL, _NAMES, _ROW, _MARGINS = 150, 3.4, 2.6, 0.34, 1.5  # dots an inch; inches
_CURVES = (4.2, 2.9)  # inches of a panel
_WRAPPED = 34  # characters of a name's line


def draw_table(result: Mapping[str, Any]) -> bytes:
    """Bars of the drawn columns by row, with whiskers over seeds and diamonds for published figures, as PNG.

    Args:
        result: of ``gather``, or read from table.json.
    """
    drawn = [column for column in result["columns"] if column["title"] in result["drawn"]]
    instruments = list(dict.fromkeys(name for column in drawn for name in result["instruments"][column["evaluation"]]))
    rows = result["rows"]
    height = _MARGINS + sum(_ROW * max(_lines(row), len(instruments) * 0.75) for row in rows)
    with names_as_written():
        figure = Figure(figsize=(_NAMES + _PANEL * len(drawn), height), dpi=_DPI, facecolor="white")
        figure.set_layout_engine("constrained")
        panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
        for axes, column in zip(panels, drawn, strict=True):
            _bars(axes, rows, column, result["instruments"][column["evaluation"]], instruments)
        panels[0].set_yticks(range(len(rows)), [_wrapped(row["name"]) for row in rows])
        _legend(figure, instruments, rows)
        figure.suptitle(_title(result, figure.get_figwidth()), fontsize=10, fontweight="bold", color=INK)
        return _png(figure)


def _bars(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    column: Mapping[str, Any],
    names: Sequence[str],
    all_names: Sequence[str],
) -> None:
    title, thick = column["title"], 0.8 / max(len(names), 1)
    highest = 1.0
    for index, name in enumerate(names):
        found = [row["measured"].get(name, {}).get(title, {}) for row in rows]
        means, stds = (np.array([_percent(each.get(key)) for each in found]) for key in ("mean", "std"))
        positions = np.arange(len(rows)) + (index - (len(names) - 1) / 2) * thick
        axes.barh(positions, np.nan_to_num(means), 0.9 * thick, color=_COLORS[all_names.index(name) % len(_COLORS)])
        known = np.isfinite(stds)
        if known.any():
            axes.errorbar(
                means[known], positions[known], xerr=stds[known], fmt="none", color=INK, capsize=2, linewidth=1
            )
        for mean, std, position in zip(means, np.nan_to_num(stds), positions, strict=True):
            if not math.isnan(mean):
                words = f"{mean:.1f}" + (f" ±{std:.1f}" if std else "")
                axes.annotate(
                    words,
                    (mean + std, position),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7.5,
                    color=INK,
                )
                highest = max(highest, mean + std)
    papers = np.array([_percent(row["paper"].get(title)) for row in rows])
    axes.plot(papers, np.arange(len(rows)), "D", color=INK, markersize=4.5, markerfacecolor="white", zorder=3)
    highest = max(highest, float(np.nanmax(papers, initial=0.0)))
    axes.set_xlim(0, 1.22 * highest)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"{title} (%)", fontsize=9, color=INK)
    _tidy(axes, "x")


def _legend(figure: Figure, instruments: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    handles = [
        Line2D([], [], color=_COLORS[index % len(_COLORS)], linewidth=6, label=name)
        for index, name in enumerate(instruments)
    ]
    if any(row["paper"] for row in rows):
        handles.append(Line2D([], [], color=INK, marker="D", markerfacecolor="white", linestyle="", label="published"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8.5)


def draw_curves(result: Mapping[str, Any], over: Sequence[str], quantities: Sequence[str]) -> bytes:
    """A panel for each quantity and axis, a line for each row and seed, as PNG.

    Args:
        result: of ``gather`` with "curves".
        over: "epochs" and "views", a column of panels each.
        quantities: a row of panels each; those without a point are left out.
    """
    curves = result["curves"]
    shown = [each for each in quantities if any(curve["quantity"] == each for curve in curves)] or list(quantities[:1])
    size = (_CURVES[0] * len(over), _CURVES[1] * len(shown) + 1.0)
    names = list(dict.fromkeys(row["name"] for row in result["rows"]))
    with names_as_written():
        figure = Figure(figsize=size, dpi=_DPI, facecolor="white")
        figure.set_layout_engine("constrained")
        panels = figure.subplots(len(shown), len(over), squeeze=False)
        for quantity, line in zip(shown, panels, strict=True):
            for axis, axes in zip(over, line, strict=True):
                _lines_of(axes, [curve for curve in curves if curve["quantity"] == quantity], axis, names)
                axes.set_ylabel(NAMES[quantity], fontsize=8.5, color=INK)
        handles = [
            Line2D([], [], color=_COLORS[i % len(_COLORS)], label=in_legend(name)) for i, name in enumerate(names)
        ]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(len(names), 3), frameon=False, fontsize=8.5
        )
        figure.suptitle(_title(result, size[0]), fontsize=10, fontweight="bold", color=INK)
        return _png(figure)


def _lines_of(axes: Axes, curves: Sequence[Mapping[str, Any]], axis: str, names: Sequence[str]) -> None:
    for curve in curves:
        at = [point[1 if axis == "epochs" else 2] for point in curve["points"]]
        factor = 100 if curve["quantity"] == "mAP" else 1
        values = [factor * point[3] for point in curve["points"]]
        color = _COLORS[names.index(curve["row"]) % len(_COLORS)]
        axes.plot(at, values, color=color, linewidth=1.4, marker="o" if len(at) < 30 else None, markersize=3)
    axes.set_xlabel("epochs" if axis == "epochs" else "views seen", fontsize=8.5, color=INK)
    if axis == "views":
        axes.ticklabel_format(axis="x", style="plain")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value < 1e6 else f"{value / 1e6:g} M")
        axes.locator_params(axis="x", nbins=5)
    _tidy(axes, "both")


def _title(result: Mapping[str, Any], width: float) -> str:
    equal = EQUAL[result["equal"]["what"]]
    return "\n".join([*textwrap.wrap(result["title"], int(11 * width)), f"scale {result['scale']}; {equal}"])


def _wrapped(name: str) -> str:
    return "\n".join(textwrap.wrap(name, _WRAPPED)) or " "


def _lines(row: Mapping[str, Any]) -> float:
    return max(1.0, 0.55 * (_wrapped(row["name"]).count("\n") + 1))


def _percent(figure: float | None) -> float:
    return math.nan if figure is None else 100 * figure


def _tidy(axes: Axes, grid: Literal["x", "both"]) -> None:
    axes.grid(axis=grid, color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=PALE, labelcolor=INK, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b0b0b0")


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
