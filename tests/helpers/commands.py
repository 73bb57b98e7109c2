"""What tests of the command line have in common."""

from __future__ import annotations

from collections.abc import Callable

Command = Callable[..., tuple[int, str, str]]
"""A verb in this process: from its words to exit status, standard output and standard error."""


def complaint(answer: tuple[int, str, str]) -> str:
    """What a verb said of a user's mistake, which must be one line and exit code 2."""
    status, out, err = answer
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.removeprefix("Error: ").rstrip("\n")
