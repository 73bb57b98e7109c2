"""Texts that are shown to people: without characters that would command a terminal, and of bounded length."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def printable(text: str, kept: str = "\n\t") -> str:
    """A text whose characters all take room on a line; others, as of a terminal's commands, as escape sequences.

    Blanks of other widths stay; bytes of names that are no UTF-8 become escape sequences, too.

    Args:
        text: any.
        kept: what stays besides.
    """
    if text.isprintable():
        return text
    return "".join(each if _shown(each, kept) else each.encode("unicode_escape").decode() for each in text)


def shortened(text: str, longest: int) -> str:
    """A text of at most so many characters, its middle left out: names differ mostly at their ends."""
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[len(text) - (longest - 1) // 2 :]}"


def common_beginning(texts: Sequence[str]) -> str:
    """The characters that all of some texts begin with."""
    first, last = min(texts), max(texts)
    return first[: next((index for index, letter in enumerate(first) if last[index] != letter), len(first))]


def _shown(character: str, kept: str) -> bool:
    return character.isprintable() or character in kept or unicodedata.category(character) == "Zs"
