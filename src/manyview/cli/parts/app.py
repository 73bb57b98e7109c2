"""The command with all of its verbs, each imported when it is called."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from manyview.cli.parts.command import WithWords
from manyview.cli.parts.verbs import ABOUT, MODULES, OPTIONS, function_of, summary_of

HELP_FLAGS = {"help_option_names": ["-h", "--help"]}
SHORT: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "context_settings": HELP_FLAGS}


@functools.cache
def command_of(verb: str) -> Any:
    """The command of a verb, whose module is imported."""
    alone = typer.Typer(**SHORT)
    alone.command(verb, cls=WithWords)(function_of(verb))
    return typer.main.get_command(alone)


class Commands(Mapping[str, Any]):
    """The commands by verb, each made when it is asked for."""

    def __getitem__(self, verb: str) -> Any:
        return command_of(verb)

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


class Verbs(TyperGroup):
    """All verbs. Their list, for help and completion, needs none of them imported."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: Any = Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the help."""
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A verb's name and first sentence, as lists show it; ``resolve_command`` has the whole."""
        return TyperCommand(cmd_name, help=summary_of(cmd_name)) if cmd_name in MODULES else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that is called, with its options, and the arguments that are left for it."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and self.commands[name], rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the same help as without typer."""
        from manyview.cli.parts.overview import show_overview

        show_overview()


app = typer.Typer(
    name="manyview",
    cls=Verbs,
    help=ABOUT,
    pretty_exceptions_enable=False,
    context_settings=HELP_FLAGS,
)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help=dict(OPTIONS)["--version"])) -> None:
    if version:
        from manyview import __version__

        typer.echo(__version__)
        raise typer.Exit
