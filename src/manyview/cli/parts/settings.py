"""``manyview settings``."""

from __future__ import annotations


def settings() -> None:
    """List every setting that --set and --config take, with default and meaning.

    Example: manyview settings
    """
    from rich.table import Table

    from manyview.config.table import settings as rows
    from manyview.terminal import SafeConsole

    table = Table("key", "default", "meaning")
    for row in rows():
        table.add_row(*row)
    SafeConsole().print(table)
