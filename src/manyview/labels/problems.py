"""What is wrong with entries of a label file, and how that is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from manyview.errors import UserError

_TOLD = 3  # problems that a refusal quotes


class Problem(NamedTuple):
    """Why an entry cannot be used."""

    sentence: str  # where it is, and what is wrong with it
    advice: str  # what to do about it


class Malformed(ValueError):  # noqa: N818 - it describes a part of a file, and never reaches a user
    """What is wrong with a part of a label file, as a reader of such parts tells the reader of the file."""


@dataclass(frozen=True, slots=True)
class OfImage:
    """An entry, whatever it says of its image.

    Attributes:
        where: its place in the label file, such as "line 3".
        image: the image's name, as the file gives it.
    """

    where: str
    image: str


AnyEntry = TypeVar("AnyEntry", bound=OfImage)


def unique_entries(
    entries: Sequence[AnyEntry], said: Callable[[AnyEntry], Any], problems: list[Problem], *, things: str
) -> list[AnyEntry]:
    """One entry an image. Where several do not agree, none can be trusted.

    Args:
        entries: of any images, in their order.
        said: what an entry says of its image.
        problems: to which those of the others are added.
        things: what entries hold, as the user calls it.
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
                else f"{first.where} and {entry.where} give {image} different {things}"
            )
            problems.append(Problem(sentence, f"each image may be there only once, with all its {things}"))
    return unique


def refusal(problems: Sequence[Problem], what: object, *, can_skip: bool) -> UserError:
    """The error that tells the first problems of a label file.

    Args:
        problems: at least one.
        what: the file.
        can_skip: whether enough is left without the entries that have one.
    """
    way = "; --label-problems skip leaves out whatever has a problem" if can_skip else ""
    count = f"{len(problems)} problems" if len(problems) > 1 else "a problem"
    told = "; ".join(problem.sentence for problem in problems[:_TOLD]) + ("; ..." if len(problems) > _TOLD else "")
    return UserError(f"{what} has {count} ({told}): {problems[0].advice}{way}")
