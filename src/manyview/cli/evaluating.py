"""What the verbs that evaluate weights on labelled photographs do alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from manyview.cli.progress import phases


def show_evaluation(
    evaluate: Callable[..., dict[str, Any]],
    weights: Path,
    options: Mapping[str, Any],
    table: Callable[[dict[str, Any]], RenderableType],
    *files: str,
) -> None:
    """Evaluate under bars, print the table, and name the files; of several processes, the first prints.

    Args:
        evaluate: from weights, options and a progress to the result.
        weights: run folder or checkpoint file.
        options: by name; "out" is the folder for the result, or None.
        table: of the result.
        files: what the folder then holds.
    """
    from manyview.distributed import rank
    from manyview.evaluation.resume import FOLDER

    out: Path | None = options["out"]
    try:
        with phases() as progress:
            result = evaluate(weights, **options, progress=progress)
    except KeyboardInterrupt:
        if out is not None and (out / FOLDER).is_dir() and rank() == 0:
            kept = f"Stopped; what is done is kept in {out / FOLDER}. Continue with --resume."
            Console(stderr=True).print(kept, highlight=False, markup=False, soft_wrap=True)
        raise
    console = Console(quiet=rank() > 0)
    console.print(table(result))
    if out is not None:
        places = " and ".join(str(out / file) for file in files)
        console.print(f"Written to {places}", highlight=False, markup=False, soft_wrap=True)
