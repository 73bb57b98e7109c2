"""``manyview knn``."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from manyview.cli.parts.command import command
from manyview.options.labeled import KnnOptions
from manyview.options.shared import Weights


@command(Weights, KnnOptions)
def knn(weights: Path, **options: Unpack[KnnOptions]) -> None:
    """Evaluate frozen weights by k-nearest-neighbor classification of images; nothing is trained.

    Example: manyview knn runs/a --images photos --train-labels train.csv --val-labels val.csv --out runs/a-knn
    """
    from manyview.cli.parts.progress import show_evaluation
    from manyview.evaluation import knn_evaluation
    from manyview.evaluation.tables import format_knn

    show_evaluation(knn_evaluation, weights, options, format_knn, "metrics.json")
