"""``manyview linear``."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from manyview.cli.parts.command import command
from manyview.options.labeled import LinearOptions
from manyview.options.shared import Weights


@command(Weights, LinearOptions)
def linear(weights: Path, **options: Unpack[LinearOptions]) -> None:
    """Evaluate frozen weights by multi-label linear evaluation; under torchrun, on several devices.

    Example: manyview linear runs/a --images photos --train-labels train.csv --val-labels val.csv --out a
    """
    from manyview.cli.parts.progress import show_evaluation
    from manyview.evaluation import format_table, linear_evaluation

    show_evaluation(linear_evaluation, weights, options, format_table, "metrics.json")
