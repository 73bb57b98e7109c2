"""Figure of a comparison: the metrics of each group above, the differences by class below."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from manyview.backbones.beside import PRETRAINED
from manyview.drawing import in_legend, names_as_written
from manyview.evaluation.compare.summary import ClassDifferences, class_differences, other_groups
from manyview.evaluation.compare.tables import label, percent
from manyview.evaluation.probe.figure import chance
from manyview.text import shortened

_INK, _PALE, _GRID, _GRAY = "#222222", "#6b6b6b", "#e4e4e4", "#9a9a9a"
# Okabe and Ito's, which color-blind readers can distinguish; the baseline has the first.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4B00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_WIDTH, _DPI = 9.0, 150  # inches, dots an inch
_LINE, _ROW, _CURVES = 0.24, 0.34, 3.8  # inches: a class, a group's bar, the low-label curves
_MARGINS = 1.5  # inches: titles, axes and legend
_PAD = 0.07  # inches around axes
_LONGEST, _WRAPPED = 60, 30  # characters of a name, and of a line of it
_BARS = 2  # groups whose differences are drawn as bars; marks are clearer for more
_HIGHEST = 2**16 - 1  # pixels that matplotlib can draw
_SHOWN = ("mAP", "CF1")


def draw_comparison(result: dict[str, Any], classes: int | None = 20) -> bytes:
    """Draw mAP and CF1 of each group, or its low-label curve, above the differences in average precision, as PNG.

    Args:
        result: of ``compare``, or read from metrics.json.
        classes: number of classes drawn, those of the largest mean difference; None for as many as fit.
    """
    with names_as_written():
        return _draw(result, classes)


def _draw(result: dict[str, Any], classes: int | None) -> bytes:
    curves = result["protocol"]["per_class_fraction"] is not None
    others = other_groups(result)
    limit = int((_HIGHEST / _DPI - 30) / _LINE)
    entries = class_differences(result, min(limit, classes or limit)) if others else []
    legend = 2 * _LINE * (len(others) + 2)
    lines = len({label(row) for row in result["results"]}) + 1  # with chance
    upper = max(_CURVES, 2 * _LINE * (lines + 1)) if curves else 0.6 + _ROW * len(result["results"])
    lower = 0.6 + max(_class_height(len(others)) * len(entries), legend) if entries else 0.0
    heights = [upper, lower] if entries else [upper]
    figure = Figure(figsize=(_WIDTH, sum(heights) + _MARGINS), dpi=_DPI, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=_PAD, h_pad=_PAD)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if curves:
        _draw_curves(parts[0], result)
    else:
        _draw_bars(parts[0], result)
    if entries:
        _draw_classes(parts[1], result, entries)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _class_height(others: int) -> float:
    return _LINE if others != _BARS else 1.3 * _LINE


def _styles(result: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Color and marker of each group, the baseline first; no two groups share both."""
    names = [result["protocol"]["baseline"], *other_groups(result)]
    count = len(_COLORS)
    return {
        name: (_COLORS[index % count], _MARKERS[(index + index // count) % len(_MARKERS)])
        for index, name in enumerate(names)
    }


def _color(row: dict[str, Any], result: dict[str, Any]) -> str:
    return _styles(result)[row["group"]][0] if row["network"] == PRETRAINED else _GRAY


def _wrapped(name: str) -> str:
    """A group's name wrapped for an axis or a legend."""
    return in_legend("\n".join(textwrap.wrap(shortened(name, _LONGEST), _WRAPPED)) or " ")


def _draw_bars(part: Any, result: dict[str, Any]) -> None:
    """Draw a panel for each of two metrics with a bar for each group, the first at the top."""
    rows = result["results"]
    panels = part.subplots(1, len(_SHOWN), sharey=True)
    for axes, metric in zip(panels, _SHOWN, strict=True):
        means, stds = (_numbers(row["summary"][metric][key] for row in rows) for key in ("mean", "std"))
        positions = np.arange(len(rows))
        low, high = _whiskers(rows, metric, means, stds)
        axes.barh(positions, np.nan_to_num(means), height=0.62, color=[_color(row, result) for row in rows])
        known = np.isfinite(low)  # where nothing is known there is no whisker, not one of length 0
        ends = np.stack([means - low, high - means])[:, known]
        axes.errorbar(means[known], positions[known], xerr=ends, fmt="none", color=_INK, capsize=2.5, linewidth=1)
        for index, (mean, end, std) in enumerate(zip(means, high, stds, strict=True)):
            words = "-" if math.isnan(mean) else f"{mean:.1f}" + ("" if math.isnan(std) else f" ±{std:.1f}")
            start = np.nan_to_num(mean) if math.isnan(end) else end
            axes.annotate(
                words, (start, index), (4, 0), textcoords="offset points", va="center", fontsize=8, color=_INK
            )
        axes.set_yticks(positions, [_wrapped(label(row)) for row in rows])
        axes.set_xlim(0, 1.25 * max(1.0, float(np.nanmax([0.0, *means, *high]))))
        axes.set_title(f"{metric} (%)", fontsize=10, color=_INK)
        _tidy(axes, "x")
    panels[0].invert_yaxis()
    if note := _note(rows):
        part.supxlabel(note, fontsize=8.5, color=_PALE)
    _title(part, result)


def _whiskers(
    rows: Sequence[dict[str, Any]], metric: str, means: np.ndarray, stds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of each row's whisker in percent: mean and standard deviation, or of a single figure its interval.

    nan where neither is known. A basic bootstrap interval may end beyond the mean, at which the whisker then ends.
    """
    intervals = [(row["intervals"] or {}).get(metric) or (None, None) for row in rows]
    low, high = (_numbers(interval[end] for interval in intervals) for end in (0, 1))
    single = np.isnan(stds)
    low, high = np.where(single, low, means - stds), np.where(single, high, means + stds)
    return np.minimum(low, means), np.maximum(high, means)


def _note(rows: Sequence[dict[str, Any]]) -> str:
    """What the whiskers are; "" if there are none."""
    over = {row["over"] for row in rows}
    parts = ["standard deviation over the evaluations of a group"] if "evaluations" in over else []
    parts += ["standard deviation over the draws of one evaluation"] if "draws" in over else []
    if any(row["intervals"] and not row["over"] for row in rows):
        parts.append("95 % interval over the images" + (" of a single evaluation" if parts else ""))
    return f"whiskers: {'; '.join(parts)}" if parts else ""


def _draw_curves(part: Any, result: dict[str, Any]) -> None:
    """Draw mAP of each group against the number of labeled images."""
    styles = _styles(result)
    axes = part.subplots()
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in result["results"]:
        lines.setdefault(label(row), []).append(row)
    for name, rows in lines.items():
        means, stds = (_numbers(row["summary"]["mAP"][key] for row in rows) for key in ("mean", "std"))
        low, high = _whiskers(rows, "mAP", means, stds)
        trained = rows[0]["network"] == PRETRAINED
        axes.errorbar(
            [row["images"] for row in rows],
            means,
            np.nan_to_num(np.stack([means - low, high - means])),
            color=_color(rows[0], result),
            linestyle="-" if trained else "--",
            marker=styles[rows[0]["group"]][1] if trained else "x",
            markersize=4.5,
            capsize=3,
            label=_wrapped(name),
        )
    axes.axhline(100 * chance(result["protocol"]), color=_INK, linewidth=1.2, linestyle=":", label="chance")
    shares = {row["images"]: row["fraction"] for row in result["results"]}
    axes.set_xscale("log")
    axes.set_xticks(list(shares), [f"{images:,}\n{100 * share:g} %" for images, share in shares.items()])
    axes.xaxis.set_minor_locator(NullLocator())
    note = _note(result["results"])
    axes.set_xlabel(f"labeled images{f'; {note}' if note else ''}", fontsize=9, color=_INK)
    axes.set_ylabel("mAP (%)", fontsize=9, color=_INK)
    _tidy(axes, "y")
    handles, labels = axes.get_legend_handles_labels()
    # matplotlib puts the plain line, chance, before those with whiskers.
    _legend(axes, handles[1:] + handles[:1], labels[1:] + labels[:1])
    _title(part, result)


def _draw_classes(part: Any, result: dict[str, Any], entries: Sequence[ClassDifferences]) -> None:
    """Draw a row for each class with the difference of each group to the baseline."""
    names, styles = other_groups(result), _styles(result)
    axes = part.subplots()
    positions = np.arange(len(entries))
    for column, name in enumerate(names):
        values = _numbers(entry.others[column] for entry in entries)
        if len(names) > _BARS:
            color, marker = styles[name]
            axes.plot(values, positions, marker, color=color, markersize=5, label=_wrapped(name), alpha=0.9)
        else:
            height = 0.76 / len(names)
            offset = (column - (len(names) - 1) / 2) * height
            axes.barh(positions + offset, np.nan_to_num(values), height, color=styles[name][0], label=_wrapped(name))
    labels = [f"{shortened(entry.name, _WRAPPED)} ({percent(entry.baseline)})" for entry in entries]
    axes.set_yticks(positions, labels)
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.axvline(0, color=_INK, linewidth=1)
    ends = [0.0, *(100 * value for entry in entries for value in entry.others if value is not None)]
    margin = 0.06 * max(max(ends) - min(ends), 0.1)
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    baseline = _wrapped(result["protocol"]["baseline"])
    axes.set_xlabel(f"points against {baseline}, whose figure is in brackets", fontsize=9, color=_INK)
    _tidy(axes, "x")
    if len(names) > _BARS:
        axes.grid(axis="y", color=_GRID, linewidth=0.6)
    _legend(axes, *axes.get_legend_handles_labels())
    part.suptitle(_class_title(result, len(entries)), fontsize=10.5, fontweight="bold", color=_INK)


def _class_title(result: dict[str, Any], shown: int) -> str:
    protocol = result["protocol"]
    at = "" if protocol["per_class_fraction"] is None else f", {100 * protocol['per_class_fraction']:g} % of the labels"
    total = len(protocol["classes"])
    of = "" if shown == total else f" (the {shown} of {total} that differ most)"
    return f"Average precision of each class{at}: differences{of}"


def _legend(axes: Axes, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Legend to the right of the axes, from the top."""
    axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8.5)


def _title(part: Any, result: dict[str, Any]) -> None:
    part.suptitle(result["protocol"]["title"], fontsize=10.5, fontweight="bold", color=_INK)


def _tidy(axes: Axes, grid: Literal["x", "y"]) -> None:
    axes.grid(axis=grid, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_PALE, labelcolor=_INK, labelsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b0b0b0")


def _numbers(fractions: Any) -> np.ndarray:
    """Percent, nan where undefined."""
    return np.array([math.nan if value is None else 100 * value for value in fractions], dtype=np.float64)
