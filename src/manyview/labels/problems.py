"""Problems of entries in a label file, and the message that reports them."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from manyview.errors import UserError, first_few, one_line

_LONGEST = 500  # characters of a sentence


class Problem(NamedTuple):
    """Why an entry cannot be used."""

    sentence: str  # where it is, and what is wrong with it
    advice: str  # what to do about it

    @property
    def line(self) -> str:
        """The sentence as one line of bounded length, whatever it quotes of the file."""
        return one_line(self.sentence, _LONGEST)


class Malformed(ValueError):  # noqa: N818 - it describes a part of a file, and never reaches a user
    """A defect of a part of a label file; the reader of the file turns it into a problem."""


@dataclass(frozen=True, slots=True)
class OfImage:
    """An entry of a label file.

    Attributes:
        where: its location in the label file, such as "line 3".
        image: the image's name, as the file gives it.
    """

    where: str
    image: str


AnyEntry = TypeVar("AnyEntry", bound=OfImage)


def unique_entries(
    entries: Sequence[AnyEntry], said: Callable[[AnyEntry], Any], problems: list[Problem], *, content: str
) -> list[AnyEntry]:
    """One entry per image; images with contradictory entries are left out.

    Args:
        entries: of any images, in their order.
        said: returns what an entry says of its image.
        problems: list to which problems of the other entries are added.
        content: what entries hold, in the user's words.
    """
    by_image: dict[str, list[AnyEntry]] = {}
    for entry in entries:
        by_image.setdefault(entry.image, []).append(entry)
    unique = []
    for image, (first, *others) in by_image.items():
        agree = [said(entry) == said(first) for entry in others]
        if all(agree):
            unique.append(first)
        for entry, same in zip(others, agree, strict=True):
            sentence = (
                f"{entry.where} names {image} again, as {first.where} does"
                if same
                else f"{first.where} and {entry.where} give {image} different {content}"
            )
            problems.append(Problem(sentence, f"each image may be there only once, with all its {content}"))
    return unique


@functools.lru_cache
def nearest_class(name: str, classes: tuple[str, ...]) -> str:
    """The class most like an unknown one, as the end of a sentence; empty without classes."""
    near = difflib.get_close_matches(name, classes, n=1, cutoff=0)
    return f", the nearest known one being {near[0]!r}" if near else ""


def check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    """Check the value of a reader's argument.

    Raises:
        UserError: it is none of the choices.
    """
    if value not in choices:
        raise UserError(f"{what} must be {' or '.join(map(repr, choices))}, not {value!r}")


def no_outlines(what: str, outline: str) -> UserError:
    """The error of labels without any outline, where masks are wanted.

    Args:
        what: the labels and what they have, such as "labels.json has boxes".
        outline: how an outline is written in their format.
    """
    return UserError(
        f"{what}, but no outlines, of which masks are made: leave out --masks to train boxes alone, or give labels "
        f"with outlines ({outline})"
    )


def refusal(problems: Sequence[Problem], what: object, *, can_skip: bool) -> UserError:
    """The error that reports the first problems of a label file.

    Args:
        problems: at least one.
        what: the file.
        can_skip: whether entries remain without those that have a problem.
    """
    way = "; --label-problems skip leaves out whatever has a problem" if can_skip else ""
    count = f"{len(problems)} problems" if len(problems) > 1 else "a problem"
    quoted = first_few([problem.line for problem in problems[:4]], "; ")
    return UserError(f"{what} has {count} ({quoted}): {problems[0].advice}{way}")
