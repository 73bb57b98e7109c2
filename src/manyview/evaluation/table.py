"""An evaluation's result as tables for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

METRICS = ("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1")


def format_table(result: dict[str, Any]) -> Group:
    """What ``linear_evaluation`` returns (or metrics.json holds), in percent.

    Args:
        result: with "protocol" and "results".

    Returns:
        For ``rich.console.Console.print``: a table with a row for each backbone, and the average precision of each
        class beside the numbers of photographs that show it.
    """
    protocol = result["protocol"]
    # Lines of their own: as a table's title and caption they would be broken to its width.
    lines: list[Text | Table] = [
        Text(_title(protocol), style="bold"),
        _overall(result),
        *map(Text, _notes(protocol)),
        Text(),
    ]
    return Group(*lines, Text("Average precision of each class (%)", style="bold"), _by_class(result))


def _overall(result: dict[str, Any]) -> Table:
    protocol = result["protocol"]
    table = Table()
    table.add_column("backbone", no_wrap=True)
    for metric in METRICS:
        table.add_column(metric, justify="right", no_wrap=True)
    for name, metrics in result["results"].items():
        table.add_row(_label(name, protocol), *(_percent(metrics[metric]) for metric in METRICS))
    return table


def _by_class(result: dict[str, Any]) -> Table:
    protocol, results = result["protocol"], result["results"]
    table = Table()
    table.add_column("class")
    table.add_column("train", justify="right", no_wrap=True)
    table.add_column("val", justify="right", no_wrap=True)
    for name in results:
        table.add_column(_label(name, protocol), justify="right", no_wrap=True)
    rows = zip(protocol["classes"], protocol["train"]["positives"], protocol["val"]["positives"], strict=True)
    for index, (name, train, val) in enumerate(rows):
        table.add_row(name, str(train), str(val), *(_percent(metrics["AP"][index]) for metrics in results.values()))
    table.add_section()
    counts = (str(protocol[part]["count"]) for part in ("train", "val"))
    table.add_row("all (mean)", *counts, *(_percent(metrics["mAP"]) for metrics in results.values()))
    return table


def _title(protocol: dict[str, Any]) -> str:
    features = "features extracted once" if protocol["cached"] else "augmented photographs"
    return (
        f"Multi-label linear evaluation (%): {protocol['pool']} at {protocol['size']} px, {features}, "
        f"{protocol['epochs']} epochs, p >= {protocol['threshold']:g}"
    )


def _notes(protocol: dict[str, Any]) -> list[str]:
    notes = []
    if protocol["images_in_both"]:
        notes.append(f"{protocol['images_in_both']} photographs are in both label files: these figures flatter.")
    absent = sum(count == 0 for count in protocol["val"]["positives"])
    if absent:
        notes.append(f"{absent} of {len(protocol['classes'])} classes have no validation photograph: not in mAP.")
    return notes


def _label(name: str, protocol: dict[str, Any]) -> str:
    return f"{protocol['backbone']}, {name.replace('_', ' ')}"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"
