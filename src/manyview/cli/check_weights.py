"""``manyview check-weights``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manyview.cli import options


def check_weights(
    weights: options.Weights,
    images: Annotated[Path, typer.Option(help="Folder of photographs, searched recursively.")],
    list_: Annotated[
        Path | None, typer.Option("--list", help="Text or CSV file that names the photographs to draw from.")
    ] = None,
    out: options.Out = None,
    sample: Annotated[int, typer.Option(help="Photographs to measure.")] = 1000,
    size: Annotated[
        int | None, typer.Option(help="Side of the inputs in pixels; unset: of the run's views, or 224.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Whose views alignment is measured on; unset: the run's own, or simsiam's.", show_default=False
        ),
    ] = None,
    random_init: Annotated[bool, typer.Option(help="Measure an untrained backbone of the same kind beside it.")] = True,
    seed: Annotated[int, typer.Option(help="Of the sample, the views and the untrained backbone.")] = 0,
    workers: options.Workers = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    backbone: options.Architecture = None,
) -> None:
    """Measure weights without labels, and say in a sentence whether they are healthy or collapsed.

    Example: manyview check-weights runs/a --images photos --out runs/a-check
    """
    from rich.console import Console

    from manyview.cli.progress import phases
    from manyview.evaluation.health.check import check_weights as check
    from manyview.evaluation.tables import format_check
    from manyview.recipes import resolve_settings

    views = None if recipe is None else resolve_settings(images, recipe=recipe).views
    console = Console()
    with phases() as progress:
        result = check(
            weights,
            images=images,
            list=list_,
            out=out,
            sample=sample,
            size=size,
            views=views,
            seed=seed,
            backbone=backbone,
            workers=workers,
            device=device,
            precision=precision,
            random_init=random_init,
            progress=progress,
        )
    console.print(format_check(result))
    if out is not None:
        console.print(f"Written to {out / 'metrics.json'}", highlight=False, markup=False)
