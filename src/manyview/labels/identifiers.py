"""Ids of COCO files: opaque keys, numbers or text, which are compared as written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

Identifier = int | str
"""An id as the file writes it; a whole number with a decimal point, such as 3.0, counts as that number."""


def as_identifier(value: Any) -> Identifier:
    """An id of a JSON file.

    Raises:
        TypeError: it is neither a whole number nor text.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise TypeError(f"the id {value!r} is neither a whole number nor text")
    return value


class Identifiers:
    """The defined ids of a file, in which those of references are found.

    An id is found as it is written; where none is, by its text alone, if just one id has that text: some tools write
    numbers as text in one part of a file and not in the other.

    Args:
        defined: the ids.
    """

    def __init__(self, defined: Iterable[Identifier]) -> None:
        self._defined = set(defined)
        counts = Counter(map(str, self._defined))
        self._by_text = {str(each): each for each in self._defined if counts[str(each)] == 1}

    def find(self, reference: Any) -> Identifier | None:
        """The defined id that a reference means; None if there is none, or if the reference is no id."""
        try:
            written = as_identifier(reference)
        except TypeError:
            return None
        return written if written in self._defined else self._by_text.get(str(written))


def in_order(identifiers: Sequence[Identifier]) -> list[Identifier]:
    """Ids in ascending order where all are numbers, perhaps written as text; otherwise as they come."""
    try:
        return sorted(identifiers, key=int)
    except ValueError:
        return list(identifiers)


def next_number(identifiers: Iterable[Identifier]) -> int:
    """The smallest number above all ids that are numbers, perhaps written as text; 1 if none is."""
    numbers = [int(each) for each in identifiers if not isinstance(each, str) or (each.isdecimal() and len(each) < 19)]
    return max(numbers, default=0) + 1
