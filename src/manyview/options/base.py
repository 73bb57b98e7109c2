"""Declarations of options, and the signature, defaults, docstring and record that follow from them.

The options of a verb are the keys of a ``TypedDict``, each annotated with its type and an ``Option``:

    class KnnOptions(LabeledImages, total=False):
        neighbours: Annotated[int, Option(20, "Training images that vote on each image.")]

    @verb(KnnOptions)
    def knn_evaluation(weights: StrPath, **options: Unpack[KnnOptions]) -> dict[str, Any]: ...

Type checkers and editors know the options from the annotation (PEP 692), ``help`` and ``inspect`` from the decorator,
and the command line from the same class (``manyview.cli.parts.command``).
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Final, Required, TypeVar, get_args, get_origin

from manyview.options.nearest import nearest

StrPath = str | os.PathLike[str]

REQUIRED: Final = inspect.Parameter.empty
"""The default of an option that has none; its annotation is wrapped in ``Required``."""

Function = TypeVar("Function", bound=Callable[..., Any])
Settings = TypeVar("Settings")
Options = TypeVar("Options")


@dataclass(frozen=True, slots=True)
class Option:
    """Default, help and command-line form of an option.

    Attributes:
        default: value if the option is not given, or ``REQUIRED``.
        help: description on the command line, and in Python where there is no ``doc``.
        doc: description in Python; "" for ``help``.
        recorded: whether the record of a result contains it (``recorded``).
        argument: name of the command's positional argument; "" for an option with flags.
        flags: of the command; () for those derived from the name.
        metavar: placeholder of the value in the command's help; None for its type.
        shown: whether the command's help shows the default, or the text it shows instead.
        minimum: smallest value that the command accepts; None for any.
        parsed: type that the command parses, where it does not follow from the Python type.
        word: of a switch that is off by default, a word that may follow it, and is then its value; "" for none.
    """

    default: Any
    help: str
    doc: str = ""
    recorded: bool = False
    argument: str = ""
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    shown: bool | str = True
    minimum: int | None = None
    parsed: Any = None
    word: str = ""


@dataclass(frozen=True, slots=True)
class Declared:
    """A declared option: name, type and ``Option``."""

    name: str
    type: Any
    option: Option


def declared(*groups: type) -> dict[str, Declared]:
    """The options of some groups by name, in order of declaration; the first of each name counts."""
    found: dict[str, Declared] = {}
    for group in groups:
        for name, annotation in group.__annotations__.items():
            origin: Any = get_origin(annotation)
            inner = get_args(annotation)[0] if origin is Required else annotation
            assert get_origin(inner) is Annotated, f"{group.__name__}.{name} is declared without an Option"
            of_type, option = get_args(inner)
            found.setdefault(name, Declared(name, of_type, option))
    return found


def defaults(*groups: type) -> dict[str, Any]:
    """The default values by name, of the options that have one."""
    return {
        name: each.option.default for name, each in declared(*groups).items() if each.option.default is not REQUIRED
    }


def verb(group: type) -> Callable[[Function], Function]:
    """Decorator that turns ``**options: Unpack[group]`` into keyword parameters, one for each option.

    The function is called with every option, defaults filled in. Unknown names and missing required options raise a
    TypeError, as for any function. Signature and docstring list the options.
    """
    options = declared(group)
    usual = defaults(group)
    required = [name for name in options if name not in usual]

    def decorate(function: Function) -> Function:
        signature = _signature(function, options)
        name = function.__name__

        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            unknown = next((option for option in given if option not in signature.parameters), None)
            if unknown is not None:
                near = nearest(unknown, signature.parameters)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise TypeError(f"{name}() got an unexpected keyword argument {unknown!r}{hint}")
            missing = [repr(option) for option in required if option not in given]
            if missing:
                plural = "s" if len(missing) > 1 else ""
                raise TypeError(f"{name}() missing required keyword-only argument{plural}: {', '.join(missing)}")
            return function(*args, **{**usual, **given})

        wrapper: Any = call
        wrapper.__signature__ = signature
        wrapper.__doc__ = _docstring(function.__doc__, options)
        wrapped: Function = wrapper
        return wrapped

    return decorate


def select(settings: type[Settings], options: Mapping[str, Any], **others: Any) -> Settings:
    """Make a dataclass of settings from the options that are named like its fields, and from ``others``."""
    names = {field.name for field in fields(settings)}  # type: ignore[arg-type]
    return settings(**{**{name: value for name, value in options.items() if name in names}, **others})


def among(group: type[Options], options: Mapping[str, Any]) -> Options:
    """The subset of options that a group declares."""
    chosen: Any = {name: options[name] for name in declared(group) if name in options}
    found: Options = chosen
    return found


def recorded(group: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the recorded options by name, as plain data."""
    return {name: _plain(options[name]) for name, each in declared(group).items() if each.option.recorded}


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _signature(function: Callable[..., Any], options: Mapping[str, Declared]) -> inspect.Signature:
    """The function's signature, with a parameter for each option in place of ``**options``."""
    signature = inspect.signature(function)
    explicit = list(signature.parameters.values())
    assert explicit[-1].kind is inspect.Parameter.VAR_KEYWORD, f"{function.__name__} takes no **options"
    first = [each for each in explicit[:-1] if each.kind is not inspect.Parameter.KEYWORD_ONLY]
    last = [each for each in explicit[:-1] if each.kind is inspect.Parameter.KEYWORD_ONLY]
    optional = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=each.option.default, annotation=_annotation(each.type)
        )
        for name, each in options.items()
    ]
    return signature.replace(parameters=[*first, *optional, *last])


def _annotation(of_type: Any) -> Any:
    """A type as a signature shows it: a name that only type checkers know stays a string."""
    return getattr(of_type, "__forward_arg__", of_type)


def _docstring(text: str | None, options: Mapping[str, Declared]) -> str | None:
    """The docstring, with an entry for each option in place of the one for ``**options``.

    Entries begin in lower case, as the written ones do; help on the command line begins with a capital.
    """
    if text is None:  # as under python -OO
        return None
    text = inspect.cleandoc(text)
    entries = (
        textwrap.fill(
            f"{name}: {each.option.doc or _uncapitalized(each.option.help)}",
            120,
            initial_indent=" " * 4,
            subsequent_indent=" " * 8,
            break_on_hyphens=False,
        )
        for name, each in options.items()
    )
    return re.sub(r"^    \*\*options: .*(?:\n        .*)*", lambda _: "\n".join(entries), text, flags=re.MULTILINE)


def _uncapitalized(sentence: str) -> str:
    """A sentence whose first word is in lower case, unless it is an acronym or a symbol, such as TOML or C."""
    return re.sub(r"^(A|[A-Z][a-z]+)\b", lambda found: found[0].lower(), sentence)
