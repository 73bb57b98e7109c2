"""The command ``manyview``: one verb a file, heavy imports only when a verb runs."""

from manyview.cli.main import main

__all__ = ["main"]
