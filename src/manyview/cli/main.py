"""The command line of all verbs; a user's mistake is reported in one line, with exit code 2."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import Any

import typer

from manyview.cli.check import check
from manyview.cli.check_weights import check_weights
from manyview.cli.compare import compare
from manyview.cli.demo import demo
from manyview.cli.detect import detect
from manyview.cli.embed import embed
from manyview.cli.export import export
from manyview.cli.knn import knn
from manyview.cli.linear import linear
from manyview.cli.neighbours import neighbours
from manyview.cli.parts.command import WithWords
from manyview.cli.pretrain import pretrain
from manyview.cli.probe import probe
from manyview.cli.report import report
from manyview.cli.reproduce import reproduce
from manyview.cli.views import views
from manyview.cli.watch import watch
from manyview.errors import LostError, UserError, one_line
from manyview.runtime import is_out_of_memory, keep_freed_memory, run_as_command

# Older versions of typer use the class of click, newer ones have their own.
_UsageError: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})

app = typer.Typer(
    name="manyview",
    help="Pre-train a vision backbone on unlabeled images, and evaluate it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def settings() -> None:
    """List every setting that --set and --config take, with default and meaning.

    Example: manyview settings
    """
    from rich.table import Table

    from manyview.config.table import settings as rows
    from manyview.terminal import SafeConsole

    table = Table("key", "default", "meaning")
    for row in rows():
        table.add_row(*row)
    SafeConsole().print(table)


for verb in (
    check,
    pretrain,
    linear,
    knn,
    probe,
    compare,
    embed,
    neighbours,
    check_weights,
    detect,
    export,
    views,
    report,
    watch,
    reproduce,
    demo,
    settings,
):
    app.command(cls=WithWords)(verb)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from manyview import __version__

        typer.echo(__version__)
        raise typer.Exit


def prepare() -> None:
    """Set up this process for computing on a CPU; to be called before PyTorch is imported."""
    # Compute threads that wait for each other yield their core to the loader's processes instead of spinning, which
    # is a tenth faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_freed_memory(block=2**30, total=2**31)


def main() -> None:
    """Entry point.

    Exits 0 when done, 2 on a user's mistake, 75 (EX_TEMPFAIL) where something was lost and going on may succeed, and
    128 plus the number of the signal that stopped it: 130 after Ctrl-C, 143 after SIGTERM, 138 after SIGUSR1 on Linux.
    """
    prepare()
    run_as_command()
    try:
        status = app(standalone_mode=False)
    except UserError as error:
        said = error.shared and os.environ.get("RANK", "0") != "0"  # by the first process
        status = error.status if said else _complain(str(error), error.status)
    except _UsageError as error:
        status = _explain(error)
    except (typer.Abort, KeyboardInterrupt):  # the latter before the command runs
        status = 130
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            status = _complain("out of memory: take a smaller --batch-size or --size, or fewer --workers")
        elif (lost := _lost_process(error)) is not None:
            status = _complain(lost, LostError.status)
        else:
            raise
    except OSError as error:
        # What the system refuses (a full disk, no permission) the user can fix; anything else is a bug.
        if error.filename is None and error.errno not in _REFUSALS:
            raise
        status = _complain(": ".join(str(part) for part in (error.filename, error.strerror) if part))
    sys.exit(status if isinstance(status, int) else 0)


def _lost_process(error: Exception) -> str | None:
    """What to say of an error by which another process of a verb under torchrun was lost; None for other errors."""
    used = sys.modules.get("manyview.distributed")
    if used is None or not used.tells_of_a_lost_process(error):
        return None
    return (
        f"another process was lost ({used.first_line(error)}), as where it is killed for lack of memory: start all of "
        "them again, with --resume where the verb has it"
    )


def _explain(error: Any) -> int:
    """Report a wrong option or argument in one line; show the whole help if no verb was given."""
    context = error.ctx
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), end="", file=sys.stderr)  # with rich, the help has been printed already
        return 2
    message = (
        error.format_message().rstrip(".").replace("Value error, ", "")
    )  # pydantic's prefix, within typer's message
    return _complain(f"{message}; see {context.command_path if context else 'manyview'} --help")


def _complain(message: str, status: int = 2) -> int:
    with contextlib.suppress(OSError):  # its reader has ended
        print("Error: " + one_line(" ".join(message.split())), file=sys.stderr)
    return status
