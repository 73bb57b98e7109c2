"""``manyview demo``: the whole job on synthetic scenes, or on somebody's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from manyview.cli.command import command
from manyview.options.pretrain import DemoOptions


@command(DemoOptions)
def demo(**options: Unpack[DemoOptions]) -> None:
    """Pre-train a small backbone, draw the views it was trained on, and measure it.

    Without --photos the images are synthetic scenes that the package renders, with known labels, and the backbone is
    measured by multi-label linear evaluation beside a randomly initialized one; boxes and masks to try manyview detect
    on lie with them. A folder of your own is measured where train.csv and val.csv (image,labels) lie in it.

    Example: manyview demo --out demo
    """
    from rich.console import Console

    from manyview.cli.demonstration import Scale, run_demo
    from manyview.options.base import select

    photos, images = options["photos"], options["images"]
    scale = select(Scale, options, train=images, val=images // 4)
    run_demo(None if photos is None else Path(photos), Path(options["out"]), scale, Console())
