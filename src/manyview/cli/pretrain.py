"""``manyview pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from manyview.cli.parts.command import command
from manyview.options.pretrain import PretrainFolders, PretrainOptions


@command(PretrainFolders, PretrainOptions)
def pretrain(images: Path | None, out: Path | None, **options: Unpack[PretrainOptions]) -> None:
    """Pre-train a backbone on a folder of images; only the recipe supervised needs labels.

    Example: manyview pretrain photos --out runs/a --backbone resnet18 --epochs 100 --set losses.image_aware.weight=17

    In the time one has, measured as it trains: manyview pretrain photos --out runs/c --hours 8 --eval-labels some.csv

    To continue from other weights: manyview pretrain photos --out runs/b --init moco_v2.pth --epochs 50
    """
    from manyview.errors import UserError
    from manyview.recipes import pretrain as run_pretraining

    if images is None and options["config"] is None and not options["resume"]:
        raise UserError("PHOTOS is missing: name the folder of images, as in: manyview pretrain photos --out runs/a")
    if out is None:
        raise UserError("--out is missing: name a new folder for the run, as in: manyview pretrain photos --out runs/a")
    run_pretraining(images, out, **options)
