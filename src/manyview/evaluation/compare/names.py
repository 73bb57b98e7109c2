"""Short names that tell groups of evaluations apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# What is left of names such as a-seed0 and a-seed1 when only their common beginning is kept.
_SEED_ENDING = re.compile(r"[-_. ]*(seed|(?<=[-_. ])s)?[-_. ]*$", re.IGNORECASE)


def unique_names(places: Sequence[Sequence[Path]]) -> list[str]:
    """A name for each group, by the folders of its evaluations: as short as tells them apart.

    That of one evaluation is its folder's; that of several is what their folders' names share at the beginning,
    without "seed". Where two groups would have the same name, the folders above are named too.
    """
    parts = [_shared(group) for group in places]
    lengths = [1] * len(parts)
    while True:
        names = ["/".join(own[-length:]) for own, length in zip(parts, lengths, strict=True)]
        counts = Counter(names)
        grown = [
            length + 1 if counts[name] > 1 and length < len(own) else length
            for own, length, name in zip(parts, lengths, names, strict=True)
        ]
        if grown == lengths:
            return _numbered(names)
        lengths = grown


def _shared(group: Sequence[Path]) -> list[str]:
    """The parts of a path that stands for a group."""
    paths = [place.resolve() for place in group]
    if len(paths) == 1:
        return list(paths[0].parts[1:]) or ["/"]
    *folders, last = [list(parts) for parts in zip(*(path.parts[1:] for path in paths), strict=False)] or [[""]]
    if len(set(last)) == 1:
        # Such as seed0/a and seed1/a: what differs stands above, and says nothing about the group.
        return [*(level[0] for level in folders if len(set(level)) == 1), last[0]]
    name = _SEED_ENDING.sub("", _common_beginning(last))
    above = [level[0] for level in folders if len(set(level)) == 1]
    return [*above, name] if name else above or [paths[0].name]


def _common_beginning(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    return first[: next((place for place, letter in enumerate(first) if last[place] != letter), len(first))]


def _numbered(names: Sequence[str]) -> list[str]:
    """The same, with a number after those that occur twice even so."""
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return numbered
