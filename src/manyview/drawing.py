"""Names in matplotlib's pictures, drawn as they are written."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from matplotlib import rc_context


@contextlib.contextmanager
def names_as_written() -> Iterator[None]:
    """Draw names with dollars, which are no formulas, and in letters that the font lacks, without a warning."""
    with rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def in_legend(name: str) -> str:
    """A name for a legend, from which matplotlib leaves out whatever begins with an underscore."""
    return f" {name}" if name.startswith("_") else name
