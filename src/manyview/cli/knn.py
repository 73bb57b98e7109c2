"""``manyview knn``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from manyview.cli import options


def knn(
    weights: options.Weights,
    images: options.LabelledImages,
    train_labels: options.TrainLabels,
    val_labels: options.ValLabels,
    out: options.Out = None,
    val_images: options.ValImages = None,
    difficult: options.Difficult = "ignore",
    label_problems: options.LabelProblems = "refuse",
    pool: options.Pool = "gamp",
    size: options.Size = 224,
    crop: options.Crop = "warp",
    neighbours: Annotated[int, typer.Option(help="Training images that vote on each image.")] = 20,
    temperature: Annotated[float, typer.Option(help="The smaller, the more the nearest count.")] = 0.07,
    threshold: Annotated[float, typer.Option(help="Share of the votes from which a class counts as predicted.")] = 0.5,
    resamples: options.Resamples = 1000,
    average_precision: options.AveragePrecision = "all_points",
    compatibility: options.Compatibility = None,
    random_init: options.RandomInit = False,
    seed: Annotated[int, typer.Option(help="Of the bootstrap and the untrained backbone.")] = 0,
    workers: options.Workers = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    backbone: options.Architecture = None,
) -> None:
    """Measure frozen weights by the labels of each image's nearest neighbours; nothing is trained.

    Example: manyview knn runs/a --images photos --train-labels train.csv --val-labels val.csv --out runs/a-knn
    """
    given: dict[str, Any] = dict(locals())  # what the command takes is what the function takes
    from manyview.cli.progress import show_evaluation
    from manyview.evaluation import knn_evaluation
    from manyview.evaluation.tables import format_knn

    show_evaluation(knn_evaluation, given, format_knn, "metrics.json")
