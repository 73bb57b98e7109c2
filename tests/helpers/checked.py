"""Type checks of a package's calls: shapes by jaxtyping, where there are any, and all else by beartype alone."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation

_with_shapes = jaxtyping.jaxtyped
# Calls of a function that are checked in each test: the first, and then one of so many.
FIRST, ONE_OF = 50, 20
_tests = 0


def begin_test() -> None:
    """Check the first calls of every function again."""
    global _tests
    _tests += 1


def checked(target: Any = None, *, typechecker: Callable[[Any], Any] = beartype) -> Any:
    """``jaxtyping.jaxtyped``, with the same checks for a fraction of the time.

    That binds the arguments of every call to compare the sizes of its arrays, and generates two functions for it.
    Where a function's annotations hold no array, beartype does as well without. And a loop that calls a function
    thousands of times within one test would spend half of its time on checks that went well before: after the first
    calls, one of some is checked.
    """
    if target is None:
        return functools.partial(checked, typechecker=typechecker)
    if inspect.isclass(target) and "__dataclass_fields__" in vars(target):
        target.__init__ = _checked_init(target.__init__, typechecker)
        return target
    if not isinstance(target, FunctionType):
        return _with_shapes(target, typechecker=typechecker)
    return _at_times(target, typechecker)


def _at_times(plain: FunctionType, typechecker: Callable[[Any], Any]) -> Any:
    """The function, with checks in its first calls in a test and some of the others.

    The checks are written at the first call, as most functions of an import are called in few processes.
    """
    strict: Any = None
    test = calls = 0

    @functools.wraps(plain)
    def call(*args: Any, **named: Any) -> Any:
        nonlocal test, calls
        if test != _tests:
            test, calls = _tests, 0
        calls += 1
        if (calls > FIRST and calls % ONE_OF) or jaxtyping.config.jaxtyping_disable:
            return plain(*args, **named)
        return written()(*args, **named)

    def written() -> Any:
        nonlocal strict
        if strict is None:
            strict = _strict(plain, typechecker)
        return strict

    call.strict = written  # type: ignore[attr-defined]
    return call


def _strict(plain: FunctionType, typechecker: Callable[[Any], Any]) -> Any:
    """The function with checks in every call."""
    hints = {name: _resolved(hint, plain.__globals__) for name, hint in plain.__annotations__.items()}
    if any(map(_holds_arrays, hints.values())):
        return _with_shapes(plain, typechecker=typechecker)
    annotations = plain.__annotations__
    plain.__annotations__ = hints
    try:
        return typechecker(plain)
    finally:
        plain.__annotations__ = annotations


def _checked_init(init: Any, typechecker: Callable[[Any], Any]) -> Any:
    """A dataclass's ``__init__``, whose ``__post_init__`` comes first: it may check what a file holds."""
    strict = checked(init, typechecker=typechecker)

    @functools.wraps(init)
    def call(*args: Any, **named: Any) -> None:
        try:
            strict(*args, **named)
        except (BeartypeCallHintViolation, jaxtyping.TypeCheckError):
            init(*args, **named)
            raise

    return call


def _resolved(hint: Any, names: dict[str, Any]) -> Any:
    """The type that an annotation means; Any, as in jaxtyping, where it cannot be known yet."""

    def function() -> None:
        pass

    function.__annotations__ = {"hint": hint}
    try:
        return get_type_hints(function, names, include_extras=True)["hint"]
    except Exception:
        return Any


def _holds_arrays(hint: Any) -> bool:
    if isinstance(hint, list):  # arguments of a Callable
        return any(map(_holds_arrays, hint))
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(_holds_arrays, get_args(hint)))
