"""How predictions are measured, where the user has a choice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from manyview.evaluation.features.extract import require
from manyview.evaluation.metrics.average_precision import AveragePrecision

Compatibility = Literal["ml-gcn"]


@dataclass(frozen=True, slots=True)
class MetricSettings:
    """What ``multilabel_metrics`` and ``multilabel_report`` ask for; checked when made, before any work is done.

    Raises:
        UserError: if a value is out of range.
    """

    threshold: float | int = 0.5
    average_precision: AveragePrecision = "all_points"
    compatibility: Compatibility | None = None

    def __post_init__(self) -> None:
        require(0 <= self.threshold <= 1, f"threshold is a probability from 0 to 1, not {self.threshold}")
        kinds = get_args(AveragePrecision)
        require(
            self.average_precision in kinds,
            f"average_precision must be {' or '.join(kinds)}, not {self.average_precision!r}",
        )
        known = get_args(Compatibility)
        require(
            self.compatibility is None or self.compatibility in known,
            f"compatibility must be {' or '.join(known)}, or left out, not {self.compatibility!r}",
        )

    def describe(self) -> dict[str, Any]:
        """The settings as plain data."""
        return asdict(self)
