"""``manyview knn``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from manyview.cli.options import (
    Architecture,
    AveragePrecision,
    Compatibility,
    Crop,
    Device,
    Difficult,
    LabelledImages,
    LabelProblems,
    Out,
    Pool,
    Precision,
    RandomInit,
    Resamples,
    Size,
    TrainLabels,
    ValImages,
    ValLabels,
    Weights,
    Workers,
)


def knn(
    weights: Weights,
    images: LabelledImages,
    train_labels: TrainLabels,
    val_labels: ValLabels,
    out: Out = None,
    val_images: ValImages = None,
    difficult: Difficult = "ignore",
    label_problems: LabelProblems = "refuse",
    pool: Pool = "gamp",
    size: Size = 224,
    crop: Crop = "warp",
    neighbours: Annotated[int, typer.Option(help="Training images that vote on each image.")] = 20,
    temperature: Annotated[float, typer.Option(help="The smaller, the more the nearest count.")] = 0.07,
    threshold: Annotated[float, typer.Option(help="Share of the votes from which a class counts as predicted.")] = 0.5,
    resamples: Resamples = 1000,
    average_precision: AveragePrecision = "all_points",
    compatibility: Compatibility = None,
    random_init: RandomInit = False,
    seed: Annotated[int, typer.Option(help="Of the bootstrap and the untrained backbone.")] = 0,
    workers: Workers = None,
    device: Device = "auto",
    precision: Precision = "auto",
    backbone: Architecture = None,
) -> None:
    """Measure frozen weights by the labels of each image's nearest neighbours; nothing is trained.

    Example: manyview knn runs/a --images photos --train-labels train.csv --val-labels val.csv --out runs/a-knn
    """
    options: dict[str, Any] = dict(locals())  # what the command takes is what the function takes
    from rich.console import Console

    from manyview.cli.bars import phases
    from manyview.distributed import rank
    from manyview.evaluation import knn_evaluation
    from manyview.evaluation.table import format_knn

    with phases() as progress:
        result = knn_evaluation(**options, progress=progress)
    console = Console(quiet=rank() > 0)
    console.print(format_knn(result))
    if out is not None:
        console.print(f"Written to {out / 'metrics.json'}", highlight=False, markup=False)
