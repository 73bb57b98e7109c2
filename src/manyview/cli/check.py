"""``manyview check``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Unpack

import typer

from manyview.cli.parts.command import command
from manyview.options.check import CheckOptions, CheckResult
from manyview.options.unlabeled import ImageFolder


@command(ImageFolder, CheckOptions, CheckResult)
def check(images: Path, out: Path | None, **options: Unpack[CheckOptions]) -> None:
    """Look at images and labels before a run, and forecast its time and memory.

    Reported are files that cannot be read, copies of images (also those that train and validation share), sizes,
    channels and depth, classes, suspicious labels, and whether this machine suffices.

    Nothing is changed. The exit status is 0 where nothing is in the way of a run, 1 where something would stop or spoil
    it, and 2 after a mistake in the command.

    Example: manyview check photos --labels train.csv --labels val.csv --recipe recommended --backbone resnet18
    """
    from manyview.cli.parts.progress import phases
    from manyview.recipes.check import check_images
    from manyview.recipes.check.text import format_check
    from manyview.runs.files import atomic_write, claim_files
    from manyview.terminal import SafeConsole

    if out is not None:
        claim_files(out, (".json",))
    with phases() as progress:
        result = check_images(images, **options, progress=progress)
    console = SafeConsole()
    console.print(format_check(result), highlight=False)
    if out is not None:
        atomic_write(out, json.dumps(result, indent=2, allow_nan=False) + "\n")
        console.print(f"Written to {out}", highlight=False, soft_wrap=True)
    if result["results"]["verdict"] != "fine":
        raise typer.Exit(1)
