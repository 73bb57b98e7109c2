"""Figure of the low-label curve."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from manyview.backbones.beside import PRETRAINED, RANDOM_INIT, in_words
from manyview.drawing import in_legend, names_as_written
from manyview.evaluation.tables import CLASSIFIERS, most_draws

_INK, _PALE = "#222222", "#6b6b6b"
# Okabe and Ito's, which color-blind readers can distinguish. The evaluated network has the first, random
# initialization the second, and the others the following in turn.
_COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4B00", "#000000")
_LINES, _MARKERS = ("-", "--", "-.", ":"), ("o", "s", "^", "D", "v", "P", "X")
_SIZE, _DPI = (6.4, 4.4), 150  # inches, dots an inch


def draw_low_label_curve(result: dict[str, Any]) -> bytes:
    """Draw mAP against the number of labeled images as PNG, with the standard deviation over seeds as bars.

    Args:
        result: of ``low_label_evaluation``, or read from metrics.json.
    """
    with names_as_written():
        return _draw(result["protocol"], result["results"])


def _draw(protocol: dict[str, Any], results: dict[str, Any]) -> bytes:
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    for (name, entries), style in zip(results.items(), _styles(results), strict=True):
        _draw_line(axes, in_legend(in_words(name)), style, entries)
    axes.axhline(100 * chance(protocol), color=_INK, linewidth=1.2, linestyle=":", label="chance")
    _label_fractions(axes, next(iter(results.values())))
    draws = most_draws(results)
    bars = f"; bars: standard deviation over {draws} draws" if draws > 1 else ""
    axes.set_ylabel("mAP (%)", color=_INK)
    axes.set_xlabel(f"labeled images{bars}", color=_INK)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.tick_params(colors=_PALE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b0b0b0")
    figure.legend(loc="outside lower center", ncols=min(len(results) + 1, 3), frameon=False, fontsize=9)
    inputs = f"{protocol['pool']} at {protocol['size']} px"
    title = f"{protocol['backbone']}, frozen, {inputs}: {CLASSIFIERS[protocol['classifier']]} by class"
    figure.suptitle(title, fontsize=11, fontweight="bold", color=_INK)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def chance(protocol: dict[str, Any]) -> float:
    """The mAP of random scores: the share of positives, averaged over classes that have any; else nan."""
    val = protocol["val"]
    of_classes = zip(val["positives"], val["ignored"], strict=True)
    shares = [count / (val["count"] - ignored) for count, ignored in of_classes if count]
    return float(np.mean(shares)) if shares else math.nan


def _styles(names: Iterable[str]) -> list[dict[str, Any]]:
    """Color, line and marker of each network, no two the same up to 56; random init always the same."""
    others = itertools.count(2)
    indices = [{PRETRAINED: 0, RANDOM_INIT: 1}.get(name) for name in names]
    return [
        {"color": _COLORS[own % 8], "linestyle": _LINES[own % 4], "marker": _MARKERS[own % 7]}
        for own in (next(others) if index is None else index for index in indices)
    ]


def _draw_line(axes: Axes, label: str, style: dict[str, Any], entries: list[dict[str, Any]]) -> None:
    means, stds = (
        [math.nan if (value := entry["summary"]["mAP"][key]) is None else 100 * value for entry in entries]
        for key in ("mean", "std")
    )
    images = [entry["images"] for entry in entries]
    axes.errorbar(images, means, np.nan_to_num(stds), label=label, markersize=4, capsize=3, **style)


def _label_fractions(axes: Axes, entries: list[dict[str, Any]]) -> None:
    """Label each fraction with its number of images."""
    axes.set_xscale("log")
    labels = [f"{entry['images']:,}\n{100 * entry['fraction']:g} %" for entry in entries]
    axes.set_xticks([entry["images"] for entry in entries], labels)
    axes.xaxis.set_minor_locator(NullLocator())
