"""``manyview detect``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from manyview.cli import options

# What a prediction takes; the rest is a matter of training.
_PREDICTION = frozenset({"predict", "images", "out", "draw", "test_short_side", "workers", "device", "precision"})


def detect(
    weights: Annotated[
        Path | None,
        typer.Argument(help="A run's folder or a checkpoint file, other people's too.", show_default=False),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that the labels' file names are relative to.")] = None,
    train_labels: Annotated[
        Path | None,
        typer.Option(help="Objects to learn from: COCO JSON, Pascal VOC's XML or list, or a folder of YOLO's files."),
    ] = None,
    val_labels: Annotated[Path | None, typer.Option(help="The same, to measure on.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the run; with --predict, a .json file for the results.")
    ] = None,
    predict: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Instead of training, detect in --images with that run.", show_default=False),
    ] = None,
    val_images: options.ValImages = None,
    label_problems: options.LabelProblems = "refuse",
    recipe: Annotated[
        Literal["voc-24k", "coco-1x"], typer.Option(help="Schedule, learning rate and sizes of MoCo's protocol.")
    ] = "voc-24k",
    architecture: Annotated[
        Literal["c4", "fpn"], typer.Option(help="c4: MoCo's protocol; fpn: a feature pyramid.")
    ] = "c4",
    masks: Annotated[bool, typer.Option("--masks", help="Learn and measure masks, too.")] = False,
    iterations: Annotated[
        int | None, typer.Option(help="Steps of the optimiser; unset: the recipe's.", show_default=False)
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Photographs a step; the learning rate follows it.")] = 8,
    learning_rate: Annotated[
        float | None, typer.Option(help="Unset: the recipe's, in proportion to the batch.", show_default=False)
    ] = None,
    short_side: Annotated[
        str | None,
        typer.Option(
            help="Of the photographs in training, in pixels: 480, 480,512,640, or 480-800 in steps of 32; unset: the "
            "recipe's.",
            show_default=False,
        ),
    ] = None,
    test_short_side: Annotated[
        int | None, typer.Option(help="Of the others; unset: the longest in training.", show_default=False)
    ] = None,
    max_side: Annotated[int, typer.Option(help="The long side is at most that.")] = 1333,
    regions: Annotated[int, typer.Option(help="Regions of a photograph that train the heads.")] = 512,
    test_proposals: Annotated[int, typer.Option(help="Proposals of a photograph that are looked into.")] = 1000,
    precise_batches: Annotated[
        int, typer.Option(help="Batches that set the norms' statistics before measuring; 0: running averages.")
    ] = 200,
    eval_every: Annotated[
        int | None, typer.Option(help="Iterations between two measurements; unset: one at the end.", show_default=False)
    ] = None,
    draw: Annotated[int, typer.Option(help="Photographs to draw predictions on.")] = 0,
    random_init: Annotated[
        bool, typer.Option("--random-init", help="Start from random weights instead: the baseline.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    workers: options.Workers = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    backbone: options.Architecture = None,
    checkpoint_minutes: Annotated[float, typer.Option(help="Between two checkpoints.")] = 10.0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
) -> None:
    """Fine-tune a detector on a backbone and measure it; or detect objects in new photographs.

    Example: manyview detect runs/a --images photos --train-labels train.json --val-labels val.json --out runs/a-boxes
    --iterations 2000 --short-side 256-384 --draw 8

    With that detector: manyview detect --predict runs/a-boxes --images new-photos --out found.json --draw 8
    """
    given: dict[str, Any] = dict(locals())
    run = given.pop("predict")
    _check_options(given, predicting=run is not None)
    if run is not None:
        _predict(run, {name: given[name] for name in _PREDICTION - {"predict"}})
        return
    from manyview.detection.finetune import fine_tune

    fine_tune(**given)


def _predict(run: Path, given: dict[str, Any]) -> None:
    from rich.console import Console

    from manyview.cli.progress import phases
    from manyview.detection.models.roi_heads import DETECTIONS, SCORE_THRESHOLD
    from manyview.detection.predict import predict

    with phases() as progress:
        result = predict(run, **given, progress=progress)
    console = Console(soft_wrap=True)
    skipped = result["skipped"]
    if skipped:
        console.print(
            f"Left out, as they cannot be read: {len(skipped):,}, such as {skipped[0]}", highlight=False, markup=False
        )
    kept = f"all that score {SCORE_THRESHOLD:g} or more, but at most {DETECTIONS} a photograph"
    console.print(
        f"{result['objects']:,} detections in {result['photographs']:,} photographs: {kept}.", highlight=False
    )
    files = [result[name] for name in ("results", "images", "picture") if result[name]]
    console.print(f"Written to {', '.join(files)}", highlight=False, markup=False)


def _check_options(given: dict[str, Any], *, predicting: bool) -> None:
    """Refuse options that would not be read, and miss those that must be there."""
    from manyview.errors import UserError

    defaults = {name: parameter.default for name, parameter in inspect.signature(detect).parameters.items()}
    idle = [name for name, value in given.items() if name not in _PREDICTION and value != defaults[name]]
    if predicting and idle:
        raise UserError(f"{_flag(idle[0])} has no effect with --predict; leave one of them out")
    for name in ("images", "out") if predicting else ("images", "train_labels", "val_labels", "out"):
        if given[name] is None:
            raise UserError(f"{_flag(name)} is missing; see manyview detect --help")


def _flag(name: str) -> str:
    return "WEIGHTS" if name == "weights" else f"--{name.replace('_', '-')}"
