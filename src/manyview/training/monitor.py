"""Collapse monitor: detects representations that become constant or span only a few directions.

Methods without negatives can minimize the loss with a constant representation (arXiv 2011.10566, Section 4.1), which
the loss does not show. Two measures do: the standard deviation of z/|z| relative to 1/sqrt(d), and the effective rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from manyview.config import MonitorConfig
from manyview.errors import UserError
from manyview.measures import collapse_std, effective_rank


class CollapsedError(UserError):
    """The representation stayed collapsed for ``monitor.patience`` measurements.

    Attributes:
        reading: last measurement.
    """

    def __init__(self, message: str, reading: Reading) -> None:
        super().__init__(message)
        self.reading = reading


@dataclass(frozen=True)
class Reading:
    """One measurement.

    Attributes:
        std: standard deviation of z/|z|, mean over dimensions, times sqrt(d); 1 for uniformly distributed directions.
        rank: effective rank (RankMe, arXiv 2210.02885), from 1 to min(vectors, d).
        collapsed: whether both are low.
        warning: message for the user when collapse begins, else None.
    """

    std: float
    rank: float
    collapsed: bool
    warning: str | None = None


class CollapseMonitor:
    """Measures the projections of a batch regularly and compares them with thresholds and the run's own best.

    Args:
        config: thresholds, and the action on collapse.
        remedies: what may help on collapse, one phrase each.
    """

    def __init__(self, config: MonitorConfig, remedies: Sequence[str]) -> None:
        self.config = config
        self.advice = f"try {' or '.join(remedies)}; --set monitor.on_collapse=warn goes on regardless"
        self.peak_rank = 0.0
        self.in_a_row = 0

    @property
    def healthy(self) -> bool:
        """Whether the last measurement showed no collapse."""
        return self.in_a_row == 0

    def is_due(self, step: int) -> bool:
        """Whether to measure at this optimizer step (from 1)."""
        return step == 1 or step % self.config.every == 0

    def measure(self, z: Float[Tensor, "vectors dim"], step: int) -> Reading:
        """Measure a batch of projections.

        Raises:
            CollapsedError: collapse for ``monitor.patience`` measurements in a row, and ``on_collapse`` is stop.
        """
        std, rank = collapse_std(z), effective_rank(z)
        self.peak_rank = max(self.peak_rank, rank)
        collapsed = std < self.config.min_std and rank < self.config.min_rank * self.peak_rank
        self.in_a_row = self.in_a_row + 1 if collapsed else 0
        sentence = (
            f"at step {step:,} the representation is collapsing: the standard deviation of z/|z| is {std:.2f} of "
            f"1/sqrt(d) (healthy: near 1) and its effective rank is {rank:.1f} (it was {self.peak_rank:.1f})"
        )
        if collapsed and self.config.on_collapse == "stop" and self.in_a_row >= self.config.patience:
            raise CollapsedError(
                f"{sentence}, {self.in_a_row} times in a row; {self.advice}", Reading(std, rank, collapsed)
            )
        warning = f"{sentence}; {self.advice}" if collapsed and self.in_a_row == 1 else None
        return Reading(std, rank, collapsed, warning)

    def state(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {"peak_rank": self.peak_rank, "in_a_row": self.in_a_row}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what ``state`` returned."""
        self.peak_rank, self.in_a_row = state["peak_rank"], state["in_a_row"]
