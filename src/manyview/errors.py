"""Exceptions whose messages are for users."""

from __future__ import annotations

from collections.abc import Sequence

from manyview.text import printable

_NAMED = 3
_LONGEST_NAME = 500  # characters of a name in a message
_LONGEST = 3000  # characters of a message


def one_line(text: str, most: int = _LONGEST) -> str:
    """A text as one line for messages, at most so many characters long: its middle may be left out.

    Damaged files hold anything where a name or a number is expected, so line breaks become blanks, and other characters
    that cannot be printed, such as those that move a terminal's cursor, are written as escape sequences.
    """
    if len(text) > most:  # cut first, as it may be a whole file
        text = f"{text[: most * 2 // 3]} ... {text[-(most // 4) :]}"
    if text.isprintable():
        return text
    return printable(" ".join(text.splitlines()), kept="").rstrip()


class UserError(ValueError):
    """A mistake that the user can fix; the message says what is wrong, where, and what to do.

    The command prints the message, which is one line, without a traceback and exits with ``status``.

    Attributes:
        shared: whether all processes of a run raise it, of which the first prints it.
        status: exit status of the command.
    """

    shared: bool = False
    status: int = 2

    def __str__(self) -> str:
        return one_line(super().__str__())


class NonFiniteLossError(UserError):
    """A loss became NaN or infinite."""


class MemoryUsedUpError(UserError):
    """The memory of the machine or of the accelerator does not suffice."""


class LostError(UserError):
    """Something that a run needs was lost from under it: what was saved is sound, and going on may succeed.

    The exit status is that of a temporary failure, EX_TEMPFAIL of sysexits(3).
    """

    status = 75


class LoadingError(LostError):
    """A loader process was lost, or a read is silent."""


class LostProcessError(LostError):
    """Another of the processes that train together was lost."""


def require(condition: bool, message: str) -> None:
    """Raise a UserError with this message unless the condition holds."""
    if not condition:
        raise UserError(message)


def require_seed(seed: int) -> None:
    """Raise a UserError unless NumPy's and PyTorch's generators both take the seed."""
    require(0 <= seed < 2**63, f"seed must be from 0 to 2**63 - 1, not {seed}")


def first_few(names: Sequence[str], separator: str = ", ") -> str:
    """The first three names for a message, with an ellipsis if there are more."""
    shown = [one_line(name, _LONGEST_NAME) for name in names[:_NAMED]]
    return separator.join([*shown, *(["..."] if len(names) > _NAMED else [])])
