"""The command line of all verbs; a user's mistake is reported in one line, with exit code 2."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import Any

from manyview.errors import LostError, UserError, one_line

_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})


def prepare() -> None:
    """Set up this process for computing on a CPU; to be called before PyTorch is imported."""
    from manyview.runtime import keep_freed_memory

    # Compute threads that wait for each other yield their core to the loader's processes instead of spinning, which
    # is a tenth faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_freed_memory(block=2**30, total=2**31)


def main() -> None:
    """Entry point.

    Exits 0 when done, 2 on a user's mistake, 75 (EX_TEMPFAIL) where something was lost and going on may succeed, and
    128 plus the number of the signal that stopped it: 130 after Ctrl-C, 143 after SIGTERM, 138 after SIGUSR1 on Linux.
    """
    try:
        status = _overview(sys.argv[1:]) if _asks_for_overview(sys.argv[1:]) else _run()
    except KeyboardInterrupt:  # before the command runs
        status = 130
    except Exception as error:
        found = _status_after(error)
        if found is None:
            raise
        status = found
    sys.exit(status)


def _asks_for_overview(words: Sequence[str]) -> bool:
    """Whether nothing but the help of the command, or its version, is asked for."""
    return list(words) in ([], ["-h"], ["--help"], ["--version"]) and not _is_completing()


def _is_completing() -> bool:
    """Whether a shell asks how a line may go on, for which it sets a variable of its own."""
    return any(value for name, value in os.environ.items() if name.endswith("MANYVIEW_COMPLETE"))


def _overview(words: Sequence[str]) -> int:
    """Show the version or the verbs, without the modules that the verbs need."""
    from manyview.cli.parts.overview import show_overview, show_version

    (show_version if "--version" in words else show_overview)()
    return 0 if words else 2


def _run() -> int:
    """Run the verb of the command line; its exit status."""
    prepare()
    from manyview.cli.parts.app import app, command_of
    from manyview.cli.parts.verbs import MODULES, program_name
    from manyview.runtime import run_as_command

    run_as_command()
    name, words = program_name(), sys.argv[1:]
    if words and words[0] in MODULES and not _is_completing():
        status = command_of(words[0])(words[1:], prog_name=f"{name} {words[0]}", standalone_mode=False)
    else:
        status = app(prog_name=name, standalone_mode=False)
    return status if isinstance(status, int) else 0


def _status_after(error: Exception) -> int | None:
    """Report an error that the user can do something about; its exit status, or None for a bug."""
    from manyview.runtime import is_out_of_memory

    if isinstance(error, UserError):
        said = error.shared and os.environ.get("RANK", "0") != "0"  # by the first process
        return error.status if said else _complain(str(error), error.status)
    # Older versions of typer use the classes of click, newer ones have their own.
    names = {base.__name__ for base in type(error).__mro__}
    if "ClickException" in names:
        return _explain(error)
    if "Abort" in names:
        return 130
    if isinstance(error, RuntimeError | MemoryError) and is_out_of_memory(error):
        return _complain("out of memory: take a smaller --batch-size or --size, or fewer --workers")
    if isinstance(error, RuntimeError) and (lost := _lost_process(error)) is not None:
        return _complain(lost, LostError.status)
    # What the system refuses (a full disk, no permission) the user can fix; anything else is a bug.
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _REFUSALS):
        return _complain(": ".join(str(part) for part in (error.filename, error.strerror) if part))
    return None


def _lost_process(error: Exception) -> str | None:
    """What to say of an error by which another process of a verb under torchrun was lost; None for other errors."""
    used = sys.modules.get("manyview.distributed")
    if used is None or not used.tells_of_a_lost_process(error):
        return None
    return (
        f"another process was lost ({used.first_sentence(error)}), as where it is killed for lack of memory: start "
        "all of them again, with --resume where the verb has it"
    )


def _explain(error: Any) -> int:
    """Report a wrong option or argument in one line."""
    from manyview.cli.parts.suggestions import with_suggestion

    context, prefix = error.ctx, "Value error, "  # pydantic's, within typer's message
    message = with_suggestion(error.format_message().rstrip(".").replace(prefix, ""), error)
    see = f"{' See' if message.endswith('?') else '; see'} {context.command_path if context else 'manyview'} --help"
    return _complain(message + see)


def _complain(message: str, status: int = 2) -> int:
    with contextlib.suppress(OSError):  # its reader has ended
        print("Error: " + one_line(" ".join(message.split())), file=sys.stderr)
    return status
