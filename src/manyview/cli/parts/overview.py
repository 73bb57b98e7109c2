"""The help of the command itself: what it is for, and its verbs; and its version.

It is what one sees first, so it is drawn without typer, whose import takes longer than all of this.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from manyview import __version__
from manyview.cli.parts.verbs import ABOUT, MODULES, OPTIONS, program_name, summary_of


def show_overview() -> None:
    """Print the help of the command."""
    console = Console(highlight=False)
    usage = Text.assemble(("Usage: ", "yellow"), f"{program_name()} [OPTIONS] COMMAND [ARGS]...", style="bold")
    console.print(Padding(usage, 1))
    console.print(Padding(Text(ABOUT), (0, 1, 1, 1)))
    console.print(_panel("Options", OPTIONS))
    console.print(_panel("Commands", ((verb, summary_of(verb)) for verb in MODULES)))


def show_version() -> None:
    """Print the version."""
    Console(highlight=False).print(__version__)


def _panel(title: str, rows: Iterable[tuple[str, str]]) -> Panel:
    """A box with a name and a sentence a line."""
    table = Table(show_header=False, expand=True, box=None, pad_edge=False, padding=(0, 1))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(ratio=1)
    for name, sentence in rows:
        table.add_row(Text(name), Text(sentence))
    return Panel(table, border_style="dim", title=title, title_align="left")
