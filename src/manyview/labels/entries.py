"""What the reader of each format makes of a label file, before anything is looked up in the folder of images."""

from __future__ import annotations

from dataclasses import dataclass

from manyview.labels.problems import Problem


@dataclass(frozen=True, slots=True)
class Entry:
    """An image with its labels.

    Attributes:
        where: its place in the label file, such as "line 3".
        image: its name, as the file gives it.
        shown: classes that it shows.
        difficult: classes of which it shows difficult objects only.
    """

    where: str
    image: str
    shown: frozenset[str]
    difficult: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a label file.

    Attributes:
        entries: those without a problem.
        problems: of the others.
        classes: in the order of the columns.
        declares_classes: whether the file says which classes there are; otherwise these are those that occur.
        covers_other_classes: whether images are known not to show classes other than these.
        by_stem: whether images are named without their extension.
    """

    entries: list[Entry]
    problems: list[Problem]
    classes: list[str]
    declares_classes: bool = True
    covers_other_classes: bool = True
    by_stem: bool = True


def occurring(entries: list[Entry]) -> set[str]:
    """The classes of some entries."""
    return {label for entry in entries for label in entry.shown | entry.difficult}
