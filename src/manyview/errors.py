"""Exceptions whose messages are for users."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 3


class UserError(ValueError):
    """A mistake that the user can fix; the message says what is wrong, where, and what to do.

    The command prints the message without a traceback and exits with status 2.
    """


class NonFiniteLossError(UserError):
    """A loss became NaN or infinite."""


class LoadingError(UserError):
    """A loader process was lost, or is silent."""


def require(condition: bool, message: str) -> None:
    """Raise a UserError with this message unless the condition holds."""
    if not condition:
        raise UserError(message)


def require_seed(seed: int) -> None:
    """Raise a UserError unless NumPy's and PyTorch's generators both take the seed."""
    require(0 <= seed < 2**63, f"seed must be from 0 to 2**63 - 1, not {seed}")


def first_few(names: Sequence[str], separator: str = ", ") -> str:
    """The first three names for a message, with an ellipsis if there are more."""
    return separator.join([*names[:_NAMED], *(["..."] if len(names) > _NAMED else [])])
