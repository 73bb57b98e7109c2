"""Following the operations of a pickle before it is read: what would exhaust memory, time or the stack is refused.

A pickle is a program for a machine with a stack and a memo (https://docs.python.org/3/library/pickletools.html). A few
bytes of it can ask for gigabytes: a memo index makes a table of that length, a text that is taken from the memo can be
copied without end, and the hash of a nested tuple is computed by recursion.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Iterable
from io import BufferedReader, BytesIO
from typing import IO, Any

_DEEPEST = 1000  # tuples in tuples
_MOST_SPREAD = 10**7  # items of a tuple with those of the tuples in it, each time they occur
_COPIED, _MORE = 4, 2**26  # bytes that may be copied: so many times the pickle's own, and more
_ENTRY = 100  # bytes that an item of a list or a dictionary takes, about
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_FILLS = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"})
_CALLS = frozenset({"REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST"})


class HostilePickleError(pickle.UnpicklingError):
    """A pickle that would exhaust memory, time or the stack; the message says what it has."""


class _Value:
    """What is known of an object: bytes that a copy of it takes, and those of its items; nesting, if it is a tuple."""

    __slots__ = ("depth", "inner", "size", "spread")

    def __init__(self, size: int = 0) -> None:
        self.size, self.inner, self.depth, self.spread = size, 0, 0, 1

    def take(self, items: Iterable[_Value], *, is_tuple: bool = False) -> _Value:
        for item in items:
            self.size += _ENTRY
            self.inner += item.size
            if is_tuple:
                self.depth, self.spread = max(self.depth, item.depth + 1), self.spread + item.spread
        if self.depth > _DEEPEST or self.spread > _MOST_SPREAD:
            raise HostilePickleError("tuples nested too deeply")
        return self


_Stack = list[_Value | None]  # None is a mark


def check_pickle(stream: IO[bytes] | BytesIO | BufferedReader) -> None:
    """Follow a pickle from the stream's position to its end, without making any object of it.

    Raises:
        HostilePickleError: it asks for far more than its length, or nests tuples too deeply.
        Exception: of any type, if it is damaged.
    """
    stack: _Stack = []
    memo: dict[int, _Value] = {}
    begin, copied = stream.tell(), 0
    operations: Iterable[tuple[pickletools.OpcodeInfo, Any, int | None]] = pickletools.genops(stream)
    for count, (opcode, argument, position) in enumerate(operations):
        name = opcode.name
        if name in _PUTS or name == "MEMOIZE":
            index = len(memo) if name == "MEMOIZE" else int(argument)
            if index > count:
                raise HostilePickleError("a memo index beyond the number of objects")
            memo[index] = _top(stack)
            continue
        if name in _GETS:
            stack.append(memo[int(argument)])
            continue
        items = _popped(stack, opcode)
        if name in _CALLS or name == "BUILD":
            copied += sum(item.size + item.inner for item in items)
            if copied > _COPIED * ((position or 0) - begin) + _MORE:
                raise HostilePickleError("objects that are copied again and again")
        _push(stack, opcode, argument, items)


def _top(stack: _Stack) -> _Value:
    value = stack[-1]
    if value is None:
        raise HostilePickleError("a mark in place of an object")
    return value


def _popped(stack: _Stack, opcode: pickletools.OpcodeInfo) -> list[_Value]:
    """Take from the stack what an operation needs, in its order."""
    before = [each.name for each in opcode.stack_before]
    sliced: list[_Value] = []
    if "mark" in before or (opcode.name == "POP" and stack and stack[-1] is None):
        while (value := stack.pop()) is not None:
            sliced.append(value)
        before = before[: before.index("mark")] if "mark" in before else []
    below = [value for value in (stack.pop() for _ in before) if value is not None]
    return [*reversed(below), *reversed(sliced)]


def _push(stack: _Stack, opcode: pickletools.OpcodeInfo, argument: Any, items: list[_Value]) -> None:
    """Put on the stack what an operation makes."""
    name = opcode.name
    if name == "MARK":
        stack.append(None)
    elif name in _FILLS:
        stack.append(items[0].take(items[1:]))
    elif name == "BUILD":
        stack.append(items[0])
    elif name in _CALLS:  # whose result is a copy of its arguments' items at most
        stack.append(_Value(sum(item.inner for item in items)))
    elif name == "DUP":
        stack += [items[0], items[0]]
    elif name.startswith("TUPLE"):
        stack.append(_Value().take(items, is_tuple=True))
    elif name in ("LIST", "DICT", "FROZENSET"):
        stack.append(_Value().take(items))
    else:
        size = len(argument) if isinstance(argument, str | bytes | bytearray) else 0
        stack += [_Value(size) for _ in opcode.stack_after]
