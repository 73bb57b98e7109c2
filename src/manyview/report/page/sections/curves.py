"""The curves of the runs, drawn over each other."""

from __future__ import annotations

from collections.abc import Sequence

from manyview.report.page.curves import Chart, Group, Series
from manyview.report.page.markup import Html, element, join, note, paragraph
from manyview.report.page.sections.overview import swatch
from manyview.report.page.sections.section import Material
from manyview.report.page.svg import DASHES, MARKERS, color_number, draw, marker_path, spell

_UNITS = ("steps", "epochs", "views", "hours")


def curves(material: Material, groups: Sequence[Group]) -> Html:
    """The charts, with what switches them."""
    names = [run.name for run in material.runs]
    if not groups:
        return note("There are no curves yet: no line of metrics.jsonl was written.")
    steps = [step for _, charts in groups for chart in charts for series in chart.series for step in series.steps]
    span = min(steps), max(steps)  # one axis for all charts
    return join(_controls(names), [_group(title, charts, names, span) for title, charts in groups])


def _controls(names: Sequence[str]) -> Html:
    units = [
        element("label", element("input", type="radio", name="x", value=unit, checked=unit == "steps"), unit)
        for unit in _UNITS
    ]
    parts = [element("fieldset", element("legend", "Along"), units)]
    if len(names) > 1:
        runs = [
            element(
                "label", element("input", type="checkbox", name="run", value=number, checked=True), swatch(number), name
            )
            for number, name in enumerate(names)
        ]
        parts.append(element("fieldset", element("legend", "Runs"), runs))
    hint = (
        "One cursor runs through all charts: point at one, or go to it with the Tab key and move with the arrow keys. "
        "Names below a chart switch its curves on and off."
    )
    return element("div", parts, paragraph(hint), id="controls", hidden=True)


def _group(title: str, charts: Sequence[Chart], names: Sequence[str], span: tuple[int, int]) -> Html:
    return join(
        element("h3", title), element("div", [_figure(chart, names, span) for chart in charts], class_="charts")
    )


def _figure(chart: Chart, names: Sequence[str], span: tuple[int, int]) -> Html:
    log = element(
        "label",
        element("input", type="checkbox", name="log", value=chart.key),
        "log",
        class_="scripted-only",
        hidden=True,
    )
    return element(
        "figure",
        element("div", element("h4", chart.title), log if chart.log else None, class_="chart-head"),
        element("figcaption", chart.about),
        element("div", draw(chart, names, span=span), class_="plot"),
        element("div", _legend(chart, names), element("span", "at the end", class_="at"), class_="chart-foot"),
        class_="chart",
        data_key=chart.key,
    )


def _legend(chart: Chart, names: Sequence[str]) -> Html:
    items = []
    for number, series in enumerate(chart.series):
        name = ", ".join(filter(None, [names[series.run] if len(names) > 1 else "", series.name])) or chart.title
        last = spell(series.values[-1], chart.percent) + (" %" if chart.percent else "")
        value = element("span", last, class_="value")
        items.append(
            element("li", element("span", _swatch(series, number, len(names) == 1), name, " ", value, class_="series"))
        )
    return element("ul", items, class_="legend")


def _swatch(series: Series, number: int, single: bool) -> Html:
    color = f"c{color_number(series, number, single)}"
    dashes = DASHES[series.style % len(DASHES)]
    parts = [
        element("path", d="M1 6H29", class_=f"curve {color}{' thin' if series.thin else ''}", stroke_dasharray=dashes)
    ]
    if not series.thin:
        shape = MARKERS[(series.style if single else series.run) % len(MARKERS)]
        parts.append(element("path", d=marker_path(15, 6, shape), class_=f"mark {color}"))
    return element("svg", parts, viewBox="0 0 30 12", width=30, height=12, aria_hidden="true")
