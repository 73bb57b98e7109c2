"""``manyview probe``."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from manyview.cli.parts.command import command
from manyview.options.labeled import ProbeOptions
from manyview.options.shared import Weights


@command(Weights, ProbeOptions)
def probe(weights: Path, **options: Unpack[ProbeOptions]) -> None:
    """Evaluate frozen weights by linear classifiers on few labels: the low-label curve.

    Example: manyview probe runs/a --images photos --train-labels train.csv --val-labels val.csv --out a
    """
    from manyview.cli.parts.progress import show_evaluation
    from manyview.evaluation.probe.evaluate import CURVE_FILE, low_label_evaluation
    from manyview.evaluation.tables import format_low_label

    show_evaluation(low_label_evaluation, weights, options, format_low_label, "metrics.json", CURVE_FILE)
