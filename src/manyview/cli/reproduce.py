"""``manyview reproduce``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manyview.cli.parts.command import command, flag
from manyview.options.base import declared
from manyview.options.reproduce import Matching, ReproduceOptions, TableName
from manyview.options.shared import CsvLayout

FIGURE1 = "figure1"
_BETWEEN = re.compile(r",(?![^{}]*\})")  # commas, but those in braces of a pattern of shards


@command(TableName, ReproduceOptions)
def reproduce(table: str, **given: Any) -> None:
    """Make a table of the paper, or one of your own: pre-training, evaluation, and its figures beside the paper's.

    What is done in --out is not done again, and what was stopped is resumed, so that the same command goes on after
    Ctrl-C. Rows that tables share are made once.

    Example: manyview reproduce table4 --images photos --train-labels train.csv --val-labels val.csv --out tables
    --dry-run

    One's own table, at equal time: manyview reproduce mine.toml --images photos --train-labels train.csv --val-labels
    val.csv --out tables --match time --budget 0.5 --seeds 3
    """
    if table == FIGURE1:
        _draw_views(given)
        return
    options = {**given, "data": _named(given["data"], "--data"), "weights": _named(given["weights"], "--weights")}
    options["weights"] = {name: files[0] for name, files in options["weights"].items()}
    from manyview.cli.parts.progress import phases
    from manyview.recipes.reproduce import reproduce as make
    from manyview.recipes.reproduce.shown import format_forecast, format_result
    from manyview.terminal import SafeConsole

    result = make(table, **options, phases=phases, quiet=False)
    console = SafeConsole()
    if options["dry_run"]:
        console.print(format_forecast(result))
        return
    console.print(format_result(result))
    name = Path(table).stem
    files = ", ".join(str(Path(options["out"]) / f"{name}.{ending}") for ending in ("md", "csv", "json", "png"))
    console.print(f"Written: {files}", highlight=False, markup=False, soft_wrap=True)


def _named(texts: Sequence[str] | None, flag: str) -> dict[str, list[str]]:
    """Values by name, of texts such as NAME=A,B."""
    from manyview.errors import UserError

    found: dict[str, list[str]] = {}
    for text in texts or ():
        name, _, values = text.partition("=")
        parts = [part for part in _BETWEEN.split(values) if part]
        if not name or not parts or (flag == "--weights" and len(parts) > 1):
            raise UserError(f"{flag} {text}: give a name and what it stands for, as in {flag} NAME=FILE")
        if name in found:
            raise UserError(f"{flag} {name} is given twice")
        found[name] = parts
    return found


def _draw_views(options: Mapping[str, Any]) -> None:
    """Figure 1: usual views beside block-wise ones, and with boxes, how often a pair shows a common object."""
    from manyview.cli.parts.viewing import Counting, Drawing, run_views
    from manyview.recipes import resolve_settings
    from manyview.terminal import SafeConsole

    _refuse_unread(options)
    labels = options["train_labels"]
    counted = labels is not None and Path(labels).suffix.lower() == ".json"
    config = resolve_settings(options["images"], recipe="paper", list=options["list"], set=options["set"])
    drawing = Drawing(Path(options["out"]) / f"{FIGURE1}.png", count=5, only=(), epoch=0)
    console = SafeConsole()
    if options["dry_run"]:
        words = ", and common objects counted over 5 epochs" if counted else ""
        console.print(f"{FIGURE1}: the views of 5 images would be drawn{words}; nothing is trained.", highlight=False)
    else:
        run_views(config, drawing, Counting((Path(labels),), share=0.5, epochs=5) if counted else None, console)
    if not counted:
        console.print("Common objects are counted with COCO's boxes: --train-labels instances.json", highlight=False)


def _refuse_unread(options: Mapping[str, Any]) -> None:
    """Refuse options of runs and evaluations, of which a figure without any has no use."""
    from manyview.errors import UserError

    others = declared(ReproduceOptions)
    for each in (*declared(Matching, CsvLayout).values(), *(others[name] for name in ("gpus", "data", "weights"))):
        if options[each.name] != each.option.default:
            raise UserError(f"{flag(each)} has no effect on {FIGURE1}, for which nothing is trained: leave it out")
