"""Bars with intervals in the cells of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyview.report.page.markup import Html, element, join
from manyview.report.page.sections.overview import swatch

_WIDTH, _ROW = 300, 14
_LEFT, _RIGHT = 4, 4


@dataclass(frozen=True, slots=True)
class Bar:
    """A value from 0 to 1.

    Attributes:
        run: number of its run.
        value: None where undefined.
        interval: its ends; None without.
        base: of a baseline, drawn as an outline; None without.
    """

    run: int
    value: float | None
    interval: tuple[float | None, float | None]
    base: float | None


def bars(shown: Sequence[Bar], name: str) -> Html:
    """Bars of a class, one above the other."""
    height = _ROW * len(shown)
    parts = [_bar(bar, number * _ROW, single=len(shown) == 1) for number, bar in enumerate(shown)]
    return element(
        "svg",
        parts,
        viewBox=f"0 0 {_WIDTH} {height}",
        width="100%",
        height=height,
        class_="bars",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{name}: {_in_words(shown)}",
    )


def key(names: Sequence[str], numbers: Sequence[int], base: str | None, intervals: bool) -> Html:
    """What the marks in bars mean."""
    items = [
        element("li", swatch(number) if len(names) > 1 else _sample("own"), name)
        for name, number in zip(names, numbers, strict=True)
    ]
    if base:
        items.append(element("li", _sample("base"), base))
    if intervals:
        items.append(element("li", _sample("whisker"), "95 % interval of the bootstrap over images"))
    return element("ul", items, class_="key")


def _bar(bar: Bar, top: int, *, single: bool) -> Html:
    if bar.value is None:
        return join()
    middle, thick = top + _ROW / 2, _ROW - 5
    own = element(
        "rect",
        x=_LEFT,
        y=middle - thick / 2,
        width=_at(bar.value) - _LEFT,
        height=thick,
        class_="own" if single else f"own mark c{bar.run % 8}",
    )
    parts = [own]
    if bar.base is not None:
        parts.append(element("path", d=f"M{_at(bar.base):.1f} {top + 0.5}V{top + _ROW - 0.5}", class_="base"))
    low, high = bar.interval
    if low is not None and high is not None:
        left, right = _at(low), _at(high)
        parts.append(
            element(
                "path",
                d=f"M{left:.1f} {middle - 3}v6M{right:.1f} {middle - 3}v6M{left:.1f} {middle}H{right:.1f}",
                class_="whisker",
            )
        )
    return join(parts)


def _at(value: float) -> float:
    return round(_LEFT + value * (_WIDTH - _LEFT - _RIGHT), 1)


def _in_words(shown: Sequence[Bar]) -> str:
    parts = []
    for bar in shown:
        if bar.value is not None:
            low, high = bar.interval
            ends = f" ({100 * low:.1f} to {100 * high:.1f})" if low is not None and high is not None else ""
            parts.append(f"{100 * bar.value:.1f} %{ends}")
    return "; ".join(parts) or "undefined"


def _sample(of: str) -> Html:
    shapes = {
        "own": element("rect", x=1, y=3, width=24, height=8, class_="own"),
        "base": element("path", d="M13 1V13", class_="base"),
        "whisker": element("path", d="M2 4v6M24 4v6M2 7H24", class_="whisker"),
    }
    return element(
        "svg", shapes[of], viewBox="0 0 26 14", width=26, height=14, class_="bars swatch", aria_hidden="true"
    )
