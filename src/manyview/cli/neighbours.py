"""``manyview neighbours``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manyview.cli import options


def neighbours(
    weights: options.Weights,
    photos: Annotated[Path, typer.Argument(help="Folder of photographs, searched recursively.")],
    out: Annotated[Path, typer.Option(help="Picture to write (.png); what it shows lies beside it as .json.")],
    query: Annotated[
        list[str] | None, typer.Option(help="A query photograph, relative to PHOTOS; may be given several times.")
    ] = None,
    queries: Annotated[int, typer.Option(help="Queries to draw by the seed, where none is named.")] = 6,
    blocks: Annotated[
        bool, typer.Option("--blocks", help="The four blocks of each query, among blocks of other photographs.")
    ] = False,
    k: Annotated[int, typer.Option("--k", help="Neighbours of each query.")] = 6,
    features: Annotated[
        Path | None, typer.Option(help="File that manyview embed wrote with these weights, to take features from.")
    ] = None,
    list_: Annotated[
        Path | None, typer.Option("--list", help="Text or CSV file that names the photographs to search.")
    ] = None,
    pool: Annotated[
        str | None, typer.Option(help="gamp (default), avg, max, avg_minus_max or cat.", show_default=False)
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the inputs in pixels; unset: 224.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draw of queries.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Photographs, or blocks, at a time.")] = 64,
    workers: options.Workers = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    backbone: options.Architecture = None,
) -> None:
    """Draw photographs, or their blocks, beside those whose features are nearest.

    Example: manyview neighbours runs/a photos --out neighbours.png --blocks
    """
    from rich.console import Console

    from manyview.cli.progress import phases
    from manyview.evaluation.neighbours.search import nearest_neighbours
    from manyview.report.neighbours_picture import check_size, write_neighbours
    from manyview.runs.output import claim_files

    claim_files(out, (".png",), out.with_suffix(".json"))
    check_size(len(query) if query else queries, k, blocks)
    with phases() as progress:
        result = nearest_neighbours(
            weights,
            images=photos,
            query=tuple(query or ()),
            queries=queries,
            blocks=blocks,
            k=k,
            features=features,
            list=list_,
            pool=pool,
            size=size,
            seed=seed,
            batch_size=batch_size,
            workers=workers,
            device=device,
            precision=precision,
            backbone=backbone,
            progress=progress,
        )
        beside = write_neighbours(photos, result, out)
    compared, skipped = result["protocol"]["photographs"], len(result["skipped"])
    left_out = f"; left out: {skipped:,} that could not be read, named in {beside}" if skipped else ""
    console = Console()
    console.print(f"Neighbours among {compared:,} photographs{left_out}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"Written: {out}, {beside}", highlight=False, markup=False, soft_wrap=True)
