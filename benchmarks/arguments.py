"""What the command lines of all benchmarks have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def command_line(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a module's docstring as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_labeled_images(parser: argparse.ArgumentParser, of: str = "labels") -> None:
    """``--images``, ``--train`` and ``--val``: a folder, and what is known of the images of its two parts."""
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--train", type=Path, required=True, help=f"training {of}")
    parser.add_argument("--val", type=Path, required=True, help=f"validation {of}")


def add_page(parser: argparse.ArgumentParser, section: str) -> None:
    """``--page`` and ``--section``: where a result stands in a document."""
    parser.add_argument("--page", type=Path, help="document in which the tables are replaced")
    parser.add_argument("--section", default=section, help="name of its markers")


def parsed(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parsed arguments (unset: the process's own), which are also kept as ``given`` for the provenance of results."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    options.given = given
    return options
