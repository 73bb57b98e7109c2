"""Options that several verbs share, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Weights = Annotated[Path, typer.Argument(help="A run's folder or a checkpoint file, other people's too.")]
LabelledImages = Annotated[Path, typer.Option(help="Folder that the labels' file names are relative to.")]
TrainLabels = Annotated[
    Path, typer.Option(help="Labels to learn from: CSV, COCO JSON, Pascal VOC or YOLO, a file or a folder.")
]
ValLabels = Annotated[Path, typer.Option(help="The same, to measure on.")]
ValImages = Annotated[Path | None, typer.Option(help="Folder of the validation images, if another.")]
Difficult = Annotated[
    Literal["ignore", "positive"],
    typer.Option(help="Classes of which an image shows difficult objects only (Pascal VOC): left out, or shown."),
]
LabelProblems = Annotated[
    Literal["refuse", "skip"],
    typer.Option(help="Labels that name missing images, unknown classes, ...: an error, or left out and listed."),
]
Out = Annotated[Path | None, typer.Option(help="Folder for metrics.json.")]
Pool = Annotated[str, typer.Option(help="gamp, avg, max, avg_minus_max or cat.")]
Size = Annotated[int, typer.Option(help="Side of the inputs in pixels.")]
Crop = Annotated[
    str,
    typer.Option(help="warp: the whole image, warped to the square; center: 7/8 of its shorter side, at the centre."),
]
AveragePrecision = Annotated[
    Literal["all_points", "voc07"], typer.Option(help="Over all ranks, or VOC 2007's 11 points of recall.")
]
Compatibility = Annotated[
    Literal["ml-gcn"] | None,
    typer.Option(help="ml-gcn: classes never predicted count in OP as in that code.", show_default=False),
]
Resamples = Annotated[int, typer.Option(help="Of the bootstrap for the intervals; 0: none.")]
RandomInit = Annotated[
    bool, typer.Option("--random-init", help="Evaluate an untrained backbone of the same kind beside it.")
]
Workers = Annotated[int | None, typer.Option(help="Loader processes; unset: by cores.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="Of the network: auto, float32 or bf16.")]
Architecture = Annotated[str | None, typer.Option(help="Architecture, where the weights do not say it themselves.")]
