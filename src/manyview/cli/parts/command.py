"""Commands made of declared options (``manyview.options``)."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, cast, get_args, get_origin

import typer
from typer.core import TyperCommand

from manyview.errors import UserError
from manyview.options.base import REQUIRED, Declared, StrPath, declared

_PATH = set(get_args(StrPath))
_ON = "on"  # what a switch is set to that a word may follow, but does not


class WithWords(TyperCommand):
    """A command whose switches may be followed by a word: ``--resume`` or ``--resume auto``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, in which each such switch gets a value first."""
        words = {
            flag: str(each.metavar).strip("[]")
            for each in self.params
            if str(each.metavar).startswith("[")
            for flag in each.opts
        }
        joined: list[str] = []
        rest = list(args)
        while rest and rest[0] != "--":
            argument = rest.pop(0)
            if argument in words:
                follows = bool(rest) and rest[0] == words[argument]
                argument = f"{argument}={rest.pop(0) if follows else _ON}"
            joined.append(argument)
        return super().parse_args(ctx, [*joined, *rest])


def command(*groups: type, optional: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator that makes a typer command from a function with declared options.

    The command has the options of the groups in their order (the first one of a name in several groups), and then the
    function's other keyword-only parameters, declared in typer's way. Its help is the function's docstring.

    Args:
        groups: classes of options.
        optional: make no option required; an option that is not given is then None.
    """
    options = declared(*groups)

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        explicit = inspect.signature(function, eval_str=True).parameters.values()
        others = [each for each in explicit if each.name not in options and each.kind is each.KEYWORD_ONLY]
        parameters = [*(_parameter(each, optional) for each in options.values()), *others]

        def run(**given: Any) -> None:
            by_name = {name: given.pop(each.option.argument or name) for name, each in options.items()}
            function(**{name: _value(options[name], value) for name, value in by_name.items()}, **given)

        made: Any = run
        made.__name__, made.__doc__, made.__module__ = function.__name__, _paragraphs(function), function.__module__
        made.__signature__ = inspect.Signature(parameters)
        made.__annotations__ = {each.name: each.annotation for each in parameters}
        wrapped: Callable[..., None] = made
        return wrapped

    return decorate


def parsed_type(of_type: Any) -> Any:
    """The type that typer parses for a Python type: Path for any path type, list for any sequence."""
    if get_origin(of_type) not in (Union, types.UnionType):
        item, several = _item(of_type), cast("Any", list)
        return of_type if item is None else several[parsed_type(item)] | None
    members = set(get_args(of_type))
    if members >= _PATH:
        members = members - _PATH | {Path}
    if members >= {float, int}:
        members -= {int}
    sequence = next((member for member in members if _item(member) is not None), None)
    if sequence is not None:
        return parsed_type(sequence)
    optional, [single] = type(None) in members, members - {type(None)}
    return single | None if optional else single


def _paragraphs(function: Callable[..., None]) -> str:
    """The docstring with each paragraph in one line: the help wraps them to the terminal."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (inspect.getdoc(function) or "").split("\n\n"))


def _item(of_type: Any) -> Any:
    """Item type of a sequence; None for other types."""
    return get_args(of_type)[0] if get_origin(of_type) in (Sequence, Iterable) else None


def _parameter(each: Declared, optional: bool) -> inspect.Parameter:
    """An option as a parameter for typer."""
    option, required = each.option, each.option.default is REQUIRED and not optional
    parsed = str if option.word else option.parsed or parsed_type(each.type)
    several = get_origin(parsed) in (Union, types.UnionType) and any(
        get_origin(member) is list for member in get_args(parsed)
    )
    default = None if several or option.word or option.default is REQUIRED else option.default
    metavar = flag(each) if option.argument else f"[{option.word}]" if option.word else option.metavar
    about: dict[str, Any] = {"help": option.help, "show_default": option.shown, "metavar": metavar}
    if option.minimum is not None:
        about["min"] = option.minimum
    if option.argument:
        info: Any = typer.Argument(**about)
    else:
        info = typer.Option(*(option.flags or _flags(each)), **about)
    return inspect.Parameter(
        option.argument or each.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=REQUIRED if required else default,
        annotation=Annotated[(parsed if required or default is not None else parsed | None), info],
    )


def _flags(each: Declared) -> tuple[str, ...]:
    """The single flag of a switch that is off by default; typer generates the flags of other options."""
    return (flag(each),) if each.option.default is False else ()


def flag(each: Declared) -> str:
    """Name of an option on the command line."""
    if each.option.argument:
        return each.option.argument.upper()
    return each.option.flags[0] if each.option.flags else f"--{each.name.replace('_', '-')}"


def _value(each: Declared, value: Any) -> Any:
    """The given value, or the default of a repeatable option that was not given.

    Raises:
        UserError: a switch is followed by a word that it does not take.
    """
    if each.option.word:
        if value not in (None, _ON, each.option.word):
            raise UserError(f"{flag(each)} takes nothing or {each.option.word}, not {value!r}")
        return {None: each.option.default, _ON: True}.get(value, value)
    if each.option.default is not REQUIRED and value in (None, []) and value != each.option.default:
        return each.option.default
    return tuple(value) if isinstance(value, list) else value
