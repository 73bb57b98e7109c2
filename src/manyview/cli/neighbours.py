"""``manyview neighbours``."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from manyview.cli.parts.command import command
from manyview.options.shared import Weights
from manyview.options.unlabeled import ImageFolder, NeighboursOptions, Picture


@command(Weights, ImageFolder, Picture, NeighboursOptions)
def neighbours(weights: Path, out: Path, **options: Unpack[NeighboursOptions]) -> None:
    """Draw images, or their blocks, with their nearest neighbors by frozen features.

    Example: manyview neighbours runs/a photos --out neighbours.png --blocks
    """
    from manyview.cli.parts.progress import phases
    from manyview.evaluation.neighbours.search import nearest_neighbours
    from manyview.evaluation.settings import remarks_on_images
    from manyview.images import image_root
    from manyview.report.neighbours_picture import check_size, write_neighbours
    from manyview.runs.files import claim_files
    from manyview.terminal import SafeConsole

    claim_files(out, (".png",), out.with_suffix(".json"))
    check_size(len(options["query"]) or options["queries"], options["k"], options["blocks"])
    with phases() as progress:
        result = nearest_neighbours(weights, **options, progress=progress)
        listing = write_neighbours(image_root(options["images"]), result, out)
    compared, skipped = result["protocol"]["photographs"], len(result["skipped"])
    left_out = f"; left out: {skipped:,} that could not be read, listed in {listing}" if skipped else ""
    console = SafeConsole()
    for sentence in remarks_on_images(result["protocol"], result["left_out"]):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    size = result["protocol"]["size"]
    console.print(
        f"Neighbors among {compared:,} images at {size} px{left_out}", highlight=False, markup=False, soft_wrap=True
    )
    console.print(f"Written: {out}, {listing}", highlight=False, markup=False, soft_wrap=True)
