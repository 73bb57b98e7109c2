"""The one exception that speaks to users."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake that the user can mend: the message says what, where and what to do.

    The command line prints the message as it stands, without a traceback, and exits with 2.
    """
