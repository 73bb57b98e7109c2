"""``manyview embed``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manyview.cli import options


def embed(
    weights: options.Weights,
    photos: Annotated[Path, typer.Argument(help="Folder of photographs, searched recursively.")],
    out: Annotated[Path, typer.Option(help="File to write: .parquet or .npz.")],
    pool: options.Pool = "gamp",
    size: options.Size = 224,
    patches: Annotated[
        bool, typer.Option("--patches", help="Write the feature maps too: the features of each place.")
    ] = False,
    list_: Annotated[
        Path | None, typer.Option("--list", help="Text or CSV file that names the photographs to take.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Of what is written: float32 or float16.")] = "float32",
    batch_size: Annotated[int, typer.Option(help="Photographs at a time.")] = 64,
    max_bad_fraction: Annotated[
        float, typer.Option(help="Share of unreadable photographs above which nothing is written.")
    ] = 0.05,
    workers: options.Workers = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    backbone: options.Architecture = None,
) -> None:
    """Write the features of photographs to one file, with their names.

    Example: manyview embed runs/a photos --out features.parquet
    """
    from rich.console import Console

    from manyview.cli.progress import phases
    from manyview.evaluation.embed import embed as write_features
    from manyview.evaluation.embed import format_written

    with phases() as progress:
        record = write_features(
            weights,
            images=photos,
            out=out,
            list=list_,
            pool=pool,
            size=size,
            patches=patches,
            dtype=dtype,
            batch_size=batch_size,
            max_bad_fraction=max_bad_fraction,
            workers=workers,
            device=device,
            precision=precision,
            backbone=backbone,
            progress=progress,
        )
    Console().print(format_written(record, out), highlight=False, markup=False, soft_wrap=True)
