"""What tests of the command line have in common."""

from __future__ import annotations

from collections.abc import Callable

Command = Callable[..., tuple[int, str, str]]
"""A verb in this process: from its words to exit status, standard output and standard error."""
