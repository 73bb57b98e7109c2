"""The exceptions whose messages are for users."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake that the user can mend: the message says what, where and what to do.

    The command line prints the message as it stands, without a traceback, and exits with 2.
    """


class NonFiniteLossError(UserError):
    """A loss became NaN or infinite."""


def require(condition: bool, message: str) -> None:
    """Raise a UserError with this message unless the condition holds."""
    if not condition:
        raise UserError(message)
