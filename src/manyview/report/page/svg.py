"""Charts as static SVG, for print and for readers without scripts; the script draws them again."""

from __future__ import annotations

import math
from collections.abc import Sequence

from manyview.report.page.curves import Chart, Series
from manyview.report.page.markup import Html, element, join

WIDTH, HEIGHT = 560, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 10, 34
_CROSS = (
    *((-1, -0.3), (-0.3, -0.3), (-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3)),
    *((1, 0.3), (0.3, 0.3), (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3)),
)
DASHES = (None, "7 4", "2 3")
MARKERS = ("circle", "square", "triangle", "diamond", "cross")
"""Shapes that tell runs apart where colors do not."""


def draw(chart: Chart, names: Sequence[str], along: str = "steps", span: tuple[int, int] | None = None) -> Html:
    """A chart over optimizer steps, or what else its series count.

    Args:
        chart: what to draw.
        names: of the runs.
        along: title of the axis.
        span: its first and last value; None for those of the series.
    """
    points = [(step, value) for series in chart.series for step, value in zip(series.steps, series.values, strict=True)]
    steps, values = [step for step, _ in points], [value for _, value in points] + [value for value, _ in chart.lines]
    low, high = bounds(values, zero=chart.zero)
    first, last = span or (min(steps), max(steps))
    last = max(last, first + 1)

    def x(step: float | int) -> float:
        return round(_LEFT + (step - first) / (last - first) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float | int) -> float:
        return round(_TOP + (high - value) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)

    grid = [_across(y(tick), spell(tick, chart.percent)) for tick in ticks(low, high)]
    labels = [_label(x(tick), spell(tick)) for tick in ticks(first, last, 6) if tick == int(tick)]
    limits = [_limit(y(value), name) for value, name in chart.lines]
    curves = [_curve(series, x, y, single=len(names) == 1, number=number) for number, series in enumerate(chart.series)]
    title = element("text", along, x=WIDTH - _RIGHT, y=HEIGHT - 4, text_anchor="end", class_="axis along")
    return element(
        "svg",
        *(grid, labels, title, limits, curves),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=describe(chart, names, along),
    )


def color_number(series: Series, number: int, single: bool) -> int:
    """Number of a curve's color: of its run, or where there is one run, of its quantity."""
    return (
        (series.style if series.name not in ("single steps", "mean of the epoch") else 0) if single else series.run % 8
    )


def describe(chart: Chart, names: Sequence[str], along: str = "steps") -> str:
    """A chart in words: the first and the last value of each curve."""
    parts = []
    for series in chart.series:
        if (
            series.thin
            and len(chart.series) > 1
            and any(not each.thin and each.run == series.run for each in chart.series)
        ):
            continue
        name = ", ".join(filter(None, [names[series.run] if len(names) > 1 else "", series.name]))
        first, last = (spell(value, chart.percent) for value in (series.values[0], series.values[-1]))
        unit = "step " if along == "steps" else ""
        after = "" if along == "steps" else f" {along}"
        at = f"from {first} at {unit}{series.steps[0]:,}{after} to {last} at {unit}{series.steps[-1]:,}{after}"
        parts.append(f"{name}: {at}" if name else at)
    return f"{chart.title}: {'; '.join(parts)}"


def bounds(values: Sequence[float | int], *, zero: bool = False) -> tuple[float, float]:
    """Lowest and highest value of an axis, with some room around the data."""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (0.0 if zero and low >= 0 else low - room), high + room


def ticks(low: float | int, high: float | int, most: int = 5) -> list[float]:
    """Round values within an axis."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    apart = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / apart - 1e-9)
    return [round(number * apart, 12) for number in range(first, math.floor(high / apart + 1e-9) + 1)]


def spell(value: float | int, percent: bool = False) -> str:
    """A value at an axis."""
    if percent:
        return f"{100 * value:.4g}"
    if value and abs(value) < 1e-3:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _across(y: float | int, label: str) -> Html:
    return join(
        element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="grid"),
        element("text", label, x=_LEFT - 6, y=y + 4, text_anchor="end", class_="axis"),
    )


def _label(x: float | int, label: str) -> Html:
    return element("text", label, x=x, y=HEIGHT - _BOTTOM + 16, text_anchor="middle", class_="axis")


def _limit(y: float | int, name: str) -> Html:
    return join(
        element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="limit"),
        element("text", name, x=WIDTH - _RIGHT - 2, y=y - 4, text_anchor="end", class_="axis"),
    )


def _curve(series: Series, x: object, y: object, *, single: bool, number: int) -> Html:
    assert callable(x)
    assert callable(y)
    at = [(x(step), y(value)) for step, value in zip(series.steps, series.values, strict=True)]
    color = f"c{color_number(series, number, single)}"
    path = element(
        "path",
        d="M" + "L".join(f"{left} {top}" for left, top in at),
        class_=f"curve {color}{' thin' if series.thin else ''}",
        stroke_dasharray=DASHES[series.style % len(DASHES)],
    )
    marked = at if series.marks else [] if series.thin else at[:: max(1, len(at) // 6)]
    return join(path, [_marker(*point, series.run if not single else series.style, color) for point in marked])


def _marker(x: float | int, y: float | int, shape: int, color: str) -> Html:
    return element("path", d=marker_path(x, y, MARKERS[shape % len(MARKERS)]), class_=f"mark {color}")


def marker_path(x: float | int, y: float | int, shape: str, r: float | int = 3.4) -> str:
    """The outline of a marker."""
    if shape == "circle":
        return f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0"
    corners = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "triangle": ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
        "diamond": ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
        "cross": tuple((1.2 * dx, 1.2 * dy) for dx, dy in _CROSS),
    }[shape]
    return "M" + "L".join(f"{x + r * dx:.1f} {y + r * dy:.1f}" for dx, dy in corners) + "Z"
