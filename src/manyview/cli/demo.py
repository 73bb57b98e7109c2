"""``manyview demo``: the whole job on synthetic scenes, or on somebody's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# Sized for two cores without an accelerator: some four minutes of training.
_TRAIN, _VAL, _VIEW_SIZE, _BATCH, _EPOCHS = 2000, 600, 48, 50, 3


def demo(
    photos: Annotated[
        Path | None, typer.Option(help="Your own folder of photographs; unset: synthetic scenes.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything that the demonstration makes.")] = Path("demo"),
    epochs: Annotated[int, typer.Option(help="Passes over the images.")] = _EPOCHS,
) -> None:
    """Pre-train a small backbone, draw the views it was trained on, and measure it.

    Without --photos the images are synthetic scenes that the package renders, with known labels, and the backbone is
    measured by multi-label linear evaluation beside a randomly initialised one.

    Example: manyview demo --out demo
    """
    from rich.console import Console

    from manyview.cli.demonstration import run_demo

    run_demo(photos, out, epochs=epochs, scenes=(_TRAIN, _VAL), view_size=_VIEW_SIZE, batch=_BATCH, console=Console())
