"""The differences by class, in the order in which tables and pictures show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from manyview.evaluation.compare.summary import PRETRAINED


@dataclass(frozen=True, slots=True)
class ClassDifferences:
    """Average precision of one class.

    Attributes:
        name: of the class.
        positives: validation photographs that show it.
        baseline: the baseline's mean average precision; None where undefined.
        others: of the other groups, in their order, the difference to it; None where undefined.
    """

    name: str
    positives: int
    baseline: float | None
    others: tuple[float | None, ...]

    @property
    def mean(self) -> float:
        """Mean difference over the other groups; nan where none is defined."""
        defined = [value for value in self.others if value is not None]
        return float(np.mean(defined)) if defined else float("nan")


def other_groups(result: dict[str, Any]) -> list[str]:
    """Names of the groups of trained backbones but the baseline."""
    return [name for name in result["groups"] if name != result["protocol"]["baseline"]]


def class_differences(result: dict[str, Any], count: int | None = None) -> list[ClassDifferences]:
    """Those of ``count`` classes, of the largest mean difference either way; None for all.

    Returns:
        from the largest gain to the largest loss; classes without any difference at the end.
    """
    protocol = result["protocol"]
    at = {
        row["group"]: row
        for row in result["results"]
        if row["network"] == PRETRAINED and row["fraction"] == protocol["per_class_fraction"]
    }
    baseline = at[protocol["baseline"]]["summary"]["AP"]["mean"]
    others = [at[name]["difference"]["AP"] for name in other_groups(result)]
    entries = [
        ClassDifferences(name, positives, baseline[place], tuple(column[place] for column in others))
        for place, (name, positives) in enumerate(zip(protocol["classes"], protocol["val"]["positives"], strict=True))
    ]
    largest = sorted(entries, key=lambda entry: -np.nan_to_num(abs(entry.mean), nan=-1.0))
    kept = largest[:count]
    return sorted(kept, key=lambda entry: -np.nan_to_num(entry.mean, nan=-np.inf))
