"""Side of the inputs of an evaluation: as given, or that of the views that a run was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from manyview.errors import UserError
from manyview.evaluation.features.dataset import MIN_SIZE
from manyview.evaluation.health.run_parts import run_config
from manyview.options.base import StrPath
from manyview.runs import run_at

USUAL = 224
"""Side in pixels for weights of which no views are known."""


@dataclass(frozen=True, slots=True)
class InputSize:
    """Side of the inputs in pixels, and why it is that; "" where it was given."""

    side: int
    why: str

    @property
    def said(self) -> dict[str, str]:
        """Such as "Inputs have 96 pixels a side, as the run's views; --size takes another.", for a provenance."""
        return {"size": f"Inputs have {self.side} pixels a side, {self.why}; --size takes another."} if self.why else {}


def input_size(weights: StrPath, given: int | None) -> InputSize:
    """The side that is given, or that of the first of a run's views, or 224 for other weights.

    Args:
        weights: run folder or checkpoint file.
        given: by the user; None where nothing is.
    """
    if given is not None:
        return InputSize(given, "")
    run = run_at(Path(weights))
    try:
        views = None if run is None else run_config(run).views
    except UserError:  # of a version with other settings
        views = None
    if views is None:
        return InputSize(USUAL, "as nothing says which the weights were trained on")
    return InputSize(max(MIN_SIZE, views.layout[0].size), "as the run's views")
