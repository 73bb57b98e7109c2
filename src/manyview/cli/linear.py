"""``manyview linear``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from manyview.cli import options


def linear(
    weights: options.Weights,
    images: options.LabelledImages,
    train_labels: options.TrainLabels,
    val_labels: options.ValLabels,
    out: options.Out = None,
    val_images: options.ValImages = None,
    difficult: options.Difficult = "ignore",
    label_problems: options.LabelProblems = "refuse",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an evaluation that was stopped, in --out.")
    ] = False,
    recipe: Annotated[
        str, typer.Option(help="paper; or released: no weight decay, and a threshold at a logit of .6.")
    ] = "paper",
    pool: options.Pool = "gamp",
    size: options.Size = 224,
    crop: options.Crop = "warp",
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 100,
    measured: Annotated[
        str, typer.Option("--epoch", help="Whose head is measured: last, or best by validation mAP, which flatters.")
    ] = "last",
    batch_size: Annotated[int, typer.Option(help="Images a step; the learning rate follows it.")] = 64,
    base_learning_rate: Annotated[float, typer.Option(help="Learning rate at a batch of 256.")] = 10.0,
    weight_decay: Annotated[
        float | None, typer.Option(help="Of the linear layer; unset: the recipe's.", show_default=False)
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Probability from which a class counts as predicted; unset: the recipe's.", show_default=False
        ),
    ] = None,
    cached: Annotated[
        bool, typer.Option("--cached", help="Extract features once, without augmentation; seconds instead of hours.")
    ] = False,
    flips: Annotated[
        bool, typer.Option("--flips", help="With --cached: those of the mirrored photographs, too.")
    ] = False,
    average_precision: options.AveragePrecision = "all_points",
    compatibility: options.Compatibility = None,
    resamples: options.Resamples = 1000,
    random_init: options.RandomInit = False,
    seed: Annotated[int, typer.Option(help="Of the head's first weights, order and crops.")] = 0,
    workers: options.Workers = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    backbone: options.Architecture = None,
) -> None:
    """Measure frozen weights by multi-label linear evaluation; under torchrun, on several devices.

    Example: manyview linear runs/a --images photos --train-labels train.csv --val-labels val.csv --out a --cached
    """
    given: dict[str, Any] = dict(locals())  # what the command takes is what the function takes
    from manyview.cli.progress import show_evaluation
    from manyview.evaluation import format_table, linear_evaluation

    show_evaluation(linear_evaluation, given, format_table, "metrics.json")
