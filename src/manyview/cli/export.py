"""``manyview export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manyview.cli import options


def _show_formats(wanted: bool) -> bool:
    if not wanted:
        return False
    from rich.console import Console
    from rich.table import Table

    from manyview.export import FORMATS

    table = Table("--to", "for", "what it takes and makes")
    for form in FORMATS.values():
        table.add_row(form.name, form.library, form.about)
    Console().print(table)
    raise typer.Exit


def export(
    weights: options.Weights,
    to: Annotated[
        str,
        typer.Option(
            help="torchvision, timm, detectron2, mmdet, mmpretrain, ultralytics, huggingface, onnx or torch-export.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The file to make, or for huggingface and ultralytics the folder.", show_default=False)
    ],
    backbone: options.Architecture = None,
    size: Annotated[
        int | None,
        typer.Option(help="Side of the images in pixels to fix, for onnx and torch-export; unset: any."),
    ] = None,
    list_: Annotated[
        bool,
        typer.Option("--list", help="Show the formats and exit.", is_eager=True, callback=_show_formats),
    ] = False,
) -> None:
    """Write a backbone in another library's format, read it back there, and fail unless every weight arrived.

    Example: manyview export runs/a --to detectron2 --out exports/resnet50.pkl
    """
    from rich.console import Console

    from manyview.cli.progress import phases
    from manyview.export import export_backbone

    console = Console(soft_wrap=True, highlight=False, markup=False)
    with phases() as progress:
        done = export_backbone(weights, to=to, out=out, backbone=backbone, size=size, progress=progress)
    console.print(str(done))
    console.print("To paste:\n")
    console.print(done.lines)
