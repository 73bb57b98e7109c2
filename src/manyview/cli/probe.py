"""``manyview probe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from manyview.cli import options


def probe(
    weights: options.Weights,
    images: options.LabelledImages,
    train_labels: options.TrainLabels,
    val_labels: options.ValLabels,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json and curve.png.")] = None,
    val_images: options.ValImages = None,
    difficult: options.Difficult = "ignore",
    label_problems: options.LabelProblems = "refuse",
    pool: options.Pool = "gamp",
    size: options.Size = 224,
    crop: options.Crop = "warp",
    fraction: Annotated[
        list[float] | None,
        typer.Option(help="Share of the training images; repeat for several.", show_default="0.01, 0.1 and 1"),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            help="Of a draw; repeat for several. The first also of the untrained backbone.", show_default="0, 1 and 2"
        ),
    ] = None,
    classifier: Annotated[str, typer.Option(help="logistic or svm (linear).")] = "logistic",
    cost: Annotated[
        list[float] | None,
        typer.Option(
            help="C; repeat for several, of which cross-validation chooses one for each class.", show_default="1"
        ),
    ] = None,
    scaling: Annotated[
        str | None,
        typer.Option(help="Of the features: standardised or unit; unset: unit for svm only.", show_default=False),
    ] = None,
    average_precision: options.AveragePrecision = "all_points",
    compatibility: options.Compatibility = None,
    random_init: options.RandomInit = False,
    workers: options.Workers = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    backbone: options.Architecture = None,
) -> None:
    """Measure frozen weights by linear classifiers on a part of the labels: the low-label curve.

    Example: manyview probe runs/a --images photos --train-labels train.csv --val-labels val.csv --out a --random-init
    """
    given: dict[str, Any] = dict(locals())
    given["fractions"] = given.pop("fraction") or (0.01, 0.1, 1.0)
    given["seeds"] = given.pop("seed") or (0, 1, 2)
    given["costs"] = given.pop("cost") or (1.0,)
    from manyview.cli.progress import show_evaluation
    from manyview.evaluation.probe.evaluate import CURVE_FILE, low_label_evaluation
    from manyview.evaluation.tables import format_low_label

    show_evaluation(low_label_evaluation, given, format_low_label, "metrics.json", CURVE_FILE)
