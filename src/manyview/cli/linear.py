"""``manyview linear``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def linear(
    weights: Annotated[Path, typer.Argument(help="A run's folder or a checkpoint file.")],
    images: Annotated[Path, typer.Option(help="Folder that the labels' file names are relative to.")],
    train_labels: Annotated[Path, typer.Option(help="CSV (image,labels) or COCO instances JSON to train on.")],
    val_labels: Annotated[Path, typer.Option(help="The same, to measure on.")],
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json.")] = None,
    val_images: Annotated[Path | None, typer.Option(help="Folder of the validation images, if another.")] = None,
    pool: Annotated[str, typer.Option(help="gamp, avg, max, avg_minus_max or cat.")] = "gamp",
    size: Annotated[int, typer.Option(help="Side of the inputs in pixels.")] = 224,
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Images a step; the learning rate follows it.")] = 64,
    base_learning_rate: Annotated[float, typer.Option(help="Learning rate at a batch of 256.")] = 10.0,
    weight_decay: Annotated[float, typer.Option(help="Weight decay of the linear layer.")] = 1e-4,
    threshold: Annotated[float, typer.Option(help="Probability from which a class counts as predicted.")] = 0.5,
    cached: Annotated[
        bool, typer.Option("--cached", help="Extract features once, without augmentation; seconds instead of hours.")
    ] = False,
    random_init: Annotated[
        bool, typer.Option("--random-init", help="Evaluate an untrained backbone of the same kind beside it.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the head's first weights, order and crops.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Loader processes; unset: by cores.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="Of the backbone: auto, float32 or bf16.")] = "auto",
    backbone: Annotated[
        str | None, typer.Option(help="Architecture, where the weights do not say it themselves.")
    ] = None,
) -> None:
    """Measure frozen weights by multi-label linear evaluation.

    Example: manyview linear runs/a --images photos --train-labels train.csv --val-labels val.csv --out runs/a-linear
    --cached --random-init
    """
    from rich.console import Console

    from manyview.cli.bars import phases
    from manyview.evaluation import format_table, linear_evaluation

    console = Console()
    with phases() as progress:
        result = linear_evaluation(
            weights,
            images=images,
            train_labels=train_labels,
            val_labels=val_labels,
            val_images=val_images,
            out=out,
            pool=pool,
            size=size,
            epochs=epochs,
            batch_size=batch_size,
            base_learning_rate=base_learning_rate,
            weight_decay=weight_decay,
            threshold=threshold,
            cached=cached,
            random_init=random_init,
            seed=seed,
            workers=workers,
            device=device,
            precision=precision,
            backbone=backbone,
            progress=progress,
        )
    console.print(format_table(result))
    if out is not None:
        console.print(f"Written to {out / 'metrics.json'}", highlight=False, markup=False)
