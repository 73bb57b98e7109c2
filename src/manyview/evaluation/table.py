"""Results that hold every rule's figures, those of the linear head and of kNN, as tables for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from manyview.evaluation.tables import LONG, METRICS, SHORT, by_class, figures_table, flattering, inputs, percent, sheet


def format_table(result: dict[str, Any]) -> Group:
    """What ``linear_evaluation`` returns (or metrics.json holds), in percent.

    Args:
        result: with "protocol" and "results".

    Returns:
        For ``rich.console.Console.print``: how the weights were loaded, the figures of each backbone under each rule,
        and the average precision of each class beside the numbers of photographs that show it.
    """
    protocol, results = result["protocol"], result["results"]
    features = "augmented photographs"
    if protocol["cached"]:
        features = "features extracted once" + (", mirrored too" if protocol["flips"] else "")
    title = f"Multi-label linear evaluation (%): {inputs(protocol)}, {features}, {protocol['epochs']} epochs"
    notes = [*_intervals(results), _epoch(result), *flattering(protocol)]
    return sheet(title, protocol, _by_rule(results), notes, _by_class(result))


def format_knn(result: dict[str, Any]) -> Group:
    """What ``knn_evaluation`` returns (or metrics.json holds), in percent.

    Args:
        result: with "protocol" and "results".

    Returns:
        For ``rich.console.Console.print``: the same as of ``format_table``.
    """
    protocol, results = result["protocol"], result["results"]
    votes = f"{protocol['neighbours']} neighbours, temperature {protocol['temperature']:g}"
    notes = _intervals(results)
    if protocol["images_in_both"]:
        notes.append(f"{protocol['images_in_both']} photographs are in both label files: none votes for itself.")
    title = f"Multi-label kNN (%): {inputs(protocol)}, {votes}"
    return sheet(title, protocol, _by_rule(results), notes, _by_class(result))


def _by_rule(results: dict[str, Any]) -> Table:
    """A row for each backbone and rule, that of the user's threshold first."""
    table = figures_table("backbone", "rule", *METRICS)
    for name, report in results.items():
        for rule, figures in report["rules"].items():
            numbers = (percent(figures[metric]) for metric in METRICS if metric != "mAP")
            table.add_row(SHORT[name], rule, percent(report["mAP"]), *numbers)
        table.add_section()
    return table


def _by_class(result: dict[str, Any]) -> list[Text | Table]:
    return by_class(result["protocol"], {LONG[name]: report["AP"] for name, report in result["results"].items()})


def _intervals(results: dict[str, Any]) -> list[str]:
    lines = []
    for name, report in results.items():
        if "intervals" in report:
            low, high = (percent(end) for end in report["intervals"]["mAP"])
            lines.append(f"{LONG[name]}: mAP {percent(report['mAP'])}, 95 % interval over photographs {low} to {high}.")
    return lines


def _epoch(result: dict[str, Any]) -> str:
    """Which epoch's head the figures are of."""
    if result["protocol"]["measured"] == "last":
        return f"Measured after the last epoch ({result['protocol']['epochs']})."
    epochs = (f"{LONG[name]}: {report['measured_epoch']}" for name, report in result["results"].items())
    return f"Measured after the epoch of the best validation mAP ({', '.join(epochs)}): these figures flatter."
