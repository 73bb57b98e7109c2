"""The page as one HTML file: sections, style, script and data, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from manyview.report.page.markup import Html, element, join
from manyview.report.page.reading.status import status_of
from manyview.report.page.sections.overview import swatch
from manyview.report.page.sections.section import Material, Section
from manyview.runs.outputs import html_mark
from manyview.text import printable


@cache
def asset(name: str) -> str:
    """A file of the page's assets."""
    return (files("manyview.report.page") / "assets" / name).read_text(encoding="utf-8")


def title_of(material: Material) -> str:
    """The page's title."""
    names = [run.name for run in material.runs]
    return names[0] if len(names) == 1 else f"{len(names)} runs: {', '.join(names)}"


def status_in_words(material: Material) -> tuple[str, str]:
    """The state of the only run, or of several that which matters most, and a sentence."""
    states = [status_of(run) for run in material.runs]
    if material.single:
        return states[0].state, states[0].sentence
    order = ("stale", "working", "starting", "begun", "stopped", "finished")
    worst = min(states, key=lambda each: order.index(each.state))
    counted = {state: sum(each.state == state for each in states) for state in order}
    return worst.state, ", ".join(f"{count} {state}" for state, count in counted.items() if count) + "."


def render(
    material: Material, sections: Sequence[Section], data: dict[str, Any], made: str, *, live: bool = False
) -> str:
    """The whole page.

    Args:
        material: what it is made of.
        sections: in order.
        data: of the charts.
        made: a sentence on how and when the page was made.
        live: whether it polls the server that it is from.
    """
    state, sentence = status_in_words(material)
    heading = element(
        "div",
        element("h1", _heading(material)),
        element("span", sentence, id="status", role="status", data_state=state),
        class_="title",
    )
    body = element(
        "body",
        element("a", "Skip to the content", href="#main", class_="skip"),
        _top(sections),
        element("main", heading, [each.html for each in sections], id="main"),
        element("footer", element("p", made)),
        Html(f'<script type="application/json" id="data">{embedded(data)}</script>'),
        element("script", Html(asset("page.js"))),
        data_live=live or None,
    )
    head = _head(printable(title_of(material)), live)
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _head(title: str, live: bool) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=policy(live)),
        element("meta", name="referrer", content="no-referrer"),
        Html(html_mark("report")),
        element("title", f"{title} – manyview"),
        element("style", Html(asset("page.css"))),
    )


def _top(sections: Sequence[Section]) -> Html:
    """The bar with links to the sections."""
    links = [element("li", element("a", each.short, href=f"#{each.key}")) for each in sections]
    inner = element(
        "div",
        element("span", "manyview", class_="brand"),
        element("nav", element("ul", links), aria_label="Sections", tabindex="0"),
        element("button", "Dark", type="button", id="theme", hidden=True),
    )
    return element("div", inner, class_="top", role="banner")


def _heading(material: Material) -> Html:
    if material.single:
        return join(material.runs[0].name)
    return join([join(swatch(number), run.name, "  ") for number, run in enumerate(material.runs)])


def embedded(data: Any) -> str:
    """Data as JSON that cannot end the element that it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def policy(live: bool) -> str:
    """What the browser may do for this page: run its own script, and nothing from elsewhere."""
    digest = base64.b64encode(hashlib.sha256(asset("page.js").encode()).digest()).decode()
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )
