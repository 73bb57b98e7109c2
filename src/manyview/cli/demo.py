"""``manyview demo``: pre-training and evaluation on synthetic scenes, or on a folder of the user."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from manyview.cli.parts.command import command
from manyview.options.pretrain import DemoOptions


@command(DemoOptions)
def demo(**options: Unpack[DemoOptions]) -> None:
    """Pre-train a small backbone, draw the views it was trained on, and evaluate it.

    Without --photos the images are synthetic scenes rendered by the package, with known labels, and the backbone is
    compared with a randomly initialized one by multi-label linear evaluation; boxes and masks for manyview detect are
    written too. On your own folder the backbone is evaluated if the folder holds train.csv and val.csv (image,labels).

    Example: manyview demo --out demo
    """
    from manyview.cli.parts.progress import phases
    from manyview.options.base import select
    from manyview.recipes.demonstration import Scale, run_demo
    from manyview.terminal import SafeConsole

    photos, images = options["photos"], options["images"]
    scale = select(Scale, options, train=images, val=images // 2)
    run_demo(None if photos is None else Path(photos), Path(options["out"]), scale, SafeConsole(), phases)
