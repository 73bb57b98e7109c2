"""``manyview export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

import typer

from manyview.cli.parts.command import command
from manyview.options.shared import Weights
from manyview.options.unlabeled import ExportOptions


def _show_formats(wanted: bool) -> bool:
    if not wanted:
        return False
    from rich.table import Table

    from manyview.export import FORMATS
    from manyview.terminal import SafeConsole

    table = Table("--to", "for", "networks; output")
    for form in FORMATS.values():
        table.add_row(form.name, form.library, form.about)
    SafeConsole().print(table)
    raise typer.Exit


@command(Weights, ExportOptions)
def export(
    weights: Path,
    *,
    list_: Annotated[
        bool, typer.Option("--list", help="Show the formats and exit.", is_eager=True, callback=_show_formats)
    ] = False,
    **options: Unpack[ExportOptions],
) -> None:
    """Write a backbone in another library's format, read it back, and fail unless every weight matches.

    Example: manyview export runs/a --to detectron2 --out exports/resnet50.pkl
    """
    from manyview.cli.parts.progress import phases
    from manyview.export import export_backbone
    from manyview.terminal import SafeConsole

    console = SafeConsole(soft_wrap=True, highlight=False, markup=False)
    with phases() as progress:
        done = export_backbone(weights, **options, progress=progress)
    console.print(str(done))
    console.print("To paste:\n")
    console.print(done.lines)
