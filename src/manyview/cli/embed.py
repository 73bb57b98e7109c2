"""``manyview embed``."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from manyview.cli.parts.command import command
from manyview.options.shared import Weights
from manyview.options.unlabeled import EmbedOptions


@command(Weights, EmbedOptions)
def embed(weights: Path, **options: Unpack[EmbedOptions]) -> None:
    """Write the features of images to one file, with the images' names.

    Example: manyview embed runs/a photos --out features.parquet
    """
    from manyview.cli.parts.progress import phases
    from manyview.evaluation.embed import embed as write_features
    from manyview.evaluation.embed import format_written
    from manyview.terminal import SafeConsole

    with phases() as progress:
        record = write_features(weights, **options, progress=progress)
    SafeConsole().print(format_written(record, Path(options["out"])), highlight=False, markup=False, soft_wrap=True)
