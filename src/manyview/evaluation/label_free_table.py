"""Label-free measures as a table for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from manyview.evaluation.tables import weights_line

# Of each measure its name, its format, and its best value; RankMe's is the number of photographs or of dimensions.
_ROWS = {
    "rankme": ("RankMe", "{:.1f}", ""),
    "rankme_share": ("RankMe, of the most possible", "{:.1%}", "100 %"),
    "alpha_req": ("alpha-ReQ", "{:.2f}", "near 1"),
    "std": ("deviation, of 1/sqrt(d)", "{:.2f}", "1"),
    "uniformity": ("uniformity", "{:.2f}", "about -4"),
    "alignment": ("alignment", "{:.2f}", "0"),
}
_COLUMNS = {
    ("pretrained", "features"): "features",
    ("pretrained", "projections"): "projections",
    ("random_init", "features"): "untrained",
}


def format_check(result: dict[str, Any]) -> Group:
    """What ``check_weights`` returns (or metrics.json holds).

    Args:
        result: with "protocol", "results" and "diagnosis".

    Returns:
        For ``rich.console.Console.print``: how the weights were loaded, a table with a column for each kind of vectors,
        and the diagnosis.
    """
    protocol, results = result["protocol"], result["results"]
    columns = {title: results.get(name, {}).get(kind) for (name, kind), title in _COLUMNS.items()}
    shown = {title: measures for title, measures in columns.items() if measures is not None}
    table = Table()
    table.add_column("measure", no_wrap=True)
    for title in shown:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("best", justify="right", no_wrap=True)
    table.add_row("dimensions", *(str(measures["dim"]) for measures in shown.values()), "")
    for key, (name, form, best) in _ROWS.items():
        table.add_row(name, *(_cell(form, measures[key]) for measures in shown.values()), best)
    lines: list[Text | Table] = [*weights_line(protocol), Text(_title(protocol), style="bold"), table]
    if protocol["unreadable"]:
        lines.append(Text(f"{len(protocol['unreadable'])} photographs could not be read and are left out."))
    return Group(*lines, Text(result["diagnosis"]["sentence"]))


def _title(protocol: dict[str, Any]) -> str:
    return (
        f"Label-free measures of {protocol['backbone']} on {protocol['photographs']:,} photographs "
        f"at {protocol['size']} px"
    )


def _cell(form: str, value: float | None) -> str:
    return "-" if value is None else form.format(value).replace("%", " %")
