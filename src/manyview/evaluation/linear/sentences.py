"""Sentences below the table of a linear evaluation: how its classifiers were made, and what to beware of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyview.evaluation.linear.recipes import RATE_BY_CLASS
from manyview.evaluation.network_names import table_names

FIRST_EPOCHS = 5
"""Epochs whose mean loss is compared with the base rates' entropy."""


def classifiers_in_words(protocol: Mapping[str, Any]) -> str:
    """What was trained on what, for the title; of earlier results, too."""
    if protocol.get("recipe") == "logistic":
        return "logistic regression on features extracted once"
    features = "augmented images"
    if protocol["cached"]:
        features = "features extracted once" + (", mirrored too" if protocol["flips"] else "")
    return f"{features}, {protocol['epochs']} epochs"


def logistic_notes(result: Mapping[str, Any]) -> list[str]:
    """C of each network's classifiers and how it was chosen."""
    protocol, results = result["protocol"], result["results"]
    chosen, names = protocol["cost"] is None, table_names(results)
    costs = ", ".join(f"{names[name]} {_range(report['costs'])}" for name, report in results.items())
    if not chosen:
        how = f"C {protocol['cost']:g}, as given."
    elif protocol["cost_by_class"]:
        how = f"C of the best cross-validated average precision on the training labels, by class: {costs}."
    else:
        how = f"C of the best cross-validated mAP on the training labels: {costs}."
    at_edge = sum(report.get("costs_at_edge", 0) for report in results.values())
    return [how, *unconverged(sum(report["unconverged"] for report in results.values())), *edge_notes(at_edge)]


def unconverged(count: int) -> list[str]:
    """A warning about classifiers that have not converged."""
    return [f"{count} classifiers have not converged: choose a smaller cost."] if count else []


def edge_notes(count: int) -> list[str]:
    """A warning about C chosen at the edge of those tried."""
    if not count:
        return []
    return [f"{count} classifiers have the least or the largest C that was tried: a better one may lie beyond."]


def head_notes(result: Mapping[str, Any]) -> list[str]:
    """The epoch whose head was evaluated, and a warning where the learning rate is too high for the classes."""
    protocol, results = result["protocol"], result["results"]
    return [_epoch(protocol, results), *_too_high_a_rate(protocol, results)]


def _epoch(protocol: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    recipe = f", recipe {protocol['recipe']}" if "recipe" in protocol else ""
    if protocol["measured"] == "last":
        return f"Evaluated after the last epoch ({protocol['epochs']}){recipe}."
    names = table_names(results)
    epochs = (f"{names[name]}: {report['measured_epoch']}" for name, report in results.items())
    return f"Evaluated after the epoch of the best validation mAP ({', '.join(epochs)}){recipe}: these figures flatter."


def _too_high_a_rate(protocol: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """For each network whose head begins worse than one that knows only the classes' frequencies."""
    rate, fitting = protocol.get("base_learning_rate", 0), RATE_BY_CLASS * len(protocol["classes"])
    if rate <= fitting:
        return []
    warnings, names = [], table_names(results)
    for name, report in results.items():
        first = report["loss_by_epoch"][:FIRST_EPOCHS]
        loss, entropy = sum(first) / len(first), report.get("base_rate_entropy")  # not in earlier results
        if entropy is not None and loss > entropy:
            warnings.append(
                f"{names[name]}: the mean loss of the first {len(first)} epochs, {loss:.2f}, is above the entropy "
                f"of the base rates, {entropy:.2f}, which needs no features: a base learning rate of {rate:g} is for "
                f"{rate / RATE_BY_CLASS:.0f} classes, and {len(protocol['classes'])} classes need {fitting:.3g} "
                "(--recipe sgd)."
            )
    return warnings


def _range(costs: list[float | None]) -> str:
    """One C, or the smallest and the largest."""
    found = sorted({cost for cost in costs if cost is not None})
    if not found:
        return "none"
    return f"{found[0]:g}" if len(found) == 1 else f"{found[0]:g} to {found[-1]:g}"
