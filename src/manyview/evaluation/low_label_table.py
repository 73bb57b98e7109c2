"""The results of linear classifiers on few labels, as tables for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group

from manyview.evaluation.tables import LONG, METRICS, SHORT, by_class, figures_table, flattering, inputs, percent, sheet


def format_low_label(result: dict[str, Any]) -> Group:
    """What ``low_label_evaluation`` returns (or metrics.json holds), in percent.

    Args:
        result: with "protocol" and "results".

    Returns:
        For ``rich.console.Console.print``: how the weights were loaded, the means over seeds for each backbone and
        fraction, with the standard deviation of mAP, and the average precision of each class with the largest fraction.
    """
    protocol, results = result["protocol"], result["results"]
    kind = {"logistic": "logistic regression", "svm": "linear SVM"}[protocol["classifier"]]
    costs = " or ".join(f"{cost:g}" for cost in protocol["costs"])
    title = f"One-vs-rest {kind} (%): {inputs(protocol)}, {protocol['scaling']}, C {costs}"
    table = figures_table("backbone", "labelled", *METRICS)
    for name, entries in results.items():
        for entry in entries:
            labelled = f"{entry['images']:,} ({100 * entry['fraction']:g} %)"
            summary = entry["summary"]
            numbers = (percent(summary[metric]["mean"]) for metric in METRICS if metric != "mAP")
            table.add_row(SHORT[name], labelled, _mean_and_std(summary["mAP"]), *numbers)
        table.add_section()
    seeds = len(protocol["seeds"])
    notes = [f"±: standard deviation over {seeds} draws."] if seeds > 1 else []
    notes += [*_unconverged(results), *flattering(protocol)]
    aps = {LONG[name]: entries[-1]["summary"]["AP"]["mean"] for name, entries in results.items()}
    last = f", {100 * protocol['fractions'][-1]:g} % of the labels"
    return sheet(title, protocol, table, notes, by_class(protocol, aps, last))


def _unconverged(results: dict[str, Any]) -> list[str]:
    count = sum(run["unconverged"] for entries in results.values() for entry in entries for run in entry["runs"])
    return [f"{count} classifiers have not converged: choose a smaller cost."] if count else []


def _mean_and_std(summary: dict[str, Any]) -> str:
    std = summary["std"]
    return percent(summary["mean"]) + ("" if std is None else f" ±{percent(std)}")
