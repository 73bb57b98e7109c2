"""Table of detectors fine-tuned from several starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from manyview.backbones.beside import PRETRAINED, in_words

FIGURES = {
    "box AP": ("box", "AP"),
    "AP50": ("box", "AP50"),
    "AP75": ("box", "AP75"),
    "VOC AP50": ("voc", "AP50"),
    "mask AP": ("mask", "AP"),
    "mask AP50": ("mask", "AP50"),
}
"""Figures of a detector that tables show: title, then protocol and key in its results."""

_COMPARED = ("AP", "AP50")


def format_starts(result: dict[str, Any]) -> Group:
    """Format a fine-tuning and its baselines for ``rich.console.Console.print``: average precisions in percent.

    Args:
        result: of ``fine_tune`` with baselines, or read from metrics.json.
    """
    protocol, measured = result["protocol"], result["results"]
    columns = {title: where for title, where in FIGURES.items() if where[0] in measured}
    table = Table(pad_edge=False)
    table.add_column("start")
    for title in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for name, each in {PRETRAINED: result, **result["beside"]}.items():
        table.add_row(Text(in_words(name)), *(percent(_figure(each, *where)) for where in columns.values()))
    title = (
        f"Detector {protocol['architecture']} on {protocol['backbone']} (%): {protocol['iterations']:,} iterations of "
        f"{protocol['batch_size']} images, seed {protocol['seed']}"
    )
    return Group(Text(title, style="bold"), table, *map(Text, _differences(result)))


def _differences(result: dict[str, Any]) -> Iterator[str]:
    """Such as "+2.1 AP and +3.0 AP50 against random initialization, with one seed."."""
    for name, each in result["beside"].items():
        parts = []
        for key in _COMPARED:
            own, other = _figure(result, "box", key), _figure(each, "box", key)
            if own is not None and other is not None:
                parts.append(f"{100 * (own - other):+.1f} {key}")
        if parts:
            yield f"{' and '.join(parts)} against {in_words(name)}, with one seed."


def _figure(result: dict[str, Any], protocol: str, key: str) -> float | None:
    figure: float | None = result["results"][protocol][key]
    return figure


def percent(fraction: float | None) -> str:
    """A fraction of 1 in percent, with one digit behind the point; a dash if undefined."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"
