"""What the command lines of all benchmarks have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def command_line(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a module's docstring as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def parsed(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parsed arguments (unset: the process's own), which are also kept as ``given`` for the provenance of results."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    options.given = given
    return options
