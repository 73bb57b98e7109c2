"""``manyview demo``: the whole job on synthetic scenes, or on somebody's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    photos: Annotated[
        Path | None, typer.Option(help="Your own folder of photographs; unset: synthetic scenes.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything that the demonstration makes.")] = Path("demo"),
    images: Annotated[int, typer.Option(help="Images to learn from; a quarter as many scenes are measured on.")] = 2000,
    view_size: Annotated[int, typer.Option(help="Side of a view in pixels.")] = 48,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 50,
    epochs: Annotated[int, typer.Option(help="Passes over the images.")] = 2,
) -> None:
    """Pre-train a small backbone, draw the views it was trained on, and measure it.

    Without --photos the images are synthetic scenes that the package renders, with known labels, and the backbone is
    measured by multi-label linear evaluation beside a randomly initialised one; boxes and masks to try manyview detect
    on lie with them. A folder of your own is measured where train.csv and val.csv (image,labels) lie in it.

    Example: manyview demo --out demo
    """
    from rich.console import Console

    from manyview.cli.demonstration import Scale, run_demo

    scale = Scale(images, images // 4, view_size, batch_size, epochs)
    run_demo(photos, out, scale, Console())
