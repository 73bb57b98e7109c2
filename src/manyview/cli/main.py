"""The verbs together, and how mistakes are told: one line, exit code 2."""

from __future__ import annotations

import sys

import typer

from manyview.cli.demo import demo
from manyview.cli.linear import linear
from manyview.cli.pretrain import pretrain
from manyview.errors import UserError

app = typer.Typer(
    name="manyview",
    help="Pre-train a vision backbone on unlabelled photographs, and measure what it is worth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (pretrain, linear, demo):
    app.command()(verb)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from manyview import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point. Exits 0 when done, 2 on a user's mistake, 130 after Ctrl-C, 143 after SIGTERM."""
    try:
        app()
    except UserError as error:
        sys.exit(_complain(str(error)))
    except OSError as error:
        # What the system refuses (a full disk, no permission) is for the user to mend; it names file and reason.
        if error.filename is None:
            raise
        sys.exit(_complain(f"{error.filename}: {error.strerror}"))


def _complain(message: str) -> int:
    print(f"Error: {message}", file=sys.stderr)
    return 2
