"""A section of the page, and what all sections are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from manyview.report.page.markup import Content, Html, element, join
from manyview.report.page.reading.evaluations import LABELED, Detector, Found, Labeled, read_detector, read_labeled
from manyview.report.page.reading.run import Run


@dataclass(frozen=True, slots=True)
class Section:
    """A section.

    Attributes:
        key: its id.
        title: its heading.
        content: what stands below the heading.
        short: its name in the list of sections.
    """

    key: str
    title: str
    content: Html
    short: str

    @property
    def inner(self) -> Html:
        """The heading and the content, which stand in the section's element."""
        return join(element("h2", self.title, id=f"{self.key}-title"), self.content)

    @property
    def html(self) -> Html:
        """The section's element."""
        return element("section", self.inner, id=self.key, aria_labelledby=f"{self.key}-title")


@dataclass(frozen=True, eq=False)
class Material:
    """What a page is made of.

    Attributes:
        runs: in the order of the command line.
        results: of each run.
        faults: sentences on results that could not be read.
        images: folder of the images, where it is not the runs' own.
        count: images to draw.
        dense: whether dense features are drawn.
    """

    runs: tuple[Run, ...]
    results: tuple[tuple[Found, ...], ...]
    faults: tuple[str, ...] = ()
    images: Path | str | None = None
    count: int = 3
    dense: bool = True

    @property
    def single(self) -> bool:
        """Whether there is one run."""
        return len(self.runs) == 1

    @cached_property
    def labeled(self) -> tuple[tuple[int, Labeled], ...]:
        """Evaluations on labels, with the numbers of their runs; damaged ones are left out."""
        return tuple(found for found in self._read[0])

    @cached_property
    def detectors(self) -> tuple[tuple[int, Detector], ...]:
        """Detectors, with the numbers of their runs; damaged ones are left out."""
        return tuple(found for found in self._read[1])

    @cached_property
    def damaged(self) -> tuple[str, ...]:
        """Sentences on results that are damaged."""
        return self.faults + self._read[2]

    @cached_property
    def _read(self) -> tuple[list[tuple[int, Labeled]], list[tuple[int, Detector]], tuple[str, ...]]:
        labeled, detectors, damaged = [], [], []
        for number, results in enumerate(self.results):
            for found in results:
                try:
                    if found.verb in LABELED:
                        labeled.append((number, read_labeled(found)))
                    elif found.verb == "detect":
                        detectors.append((number, read_detector(found)))
                except ValueError as error:
                    damaged.append(f"{error}.")
        return labeled, detectors, tuple(damaged)

    def of(self, number: int, verb: str) -> list[Found]:
        """The results of a run from a command."""
        return [found for found in self.results[number] if found.verb == verb]


def faults(sentences: tuple[str, ...]) -> Html:
    """Sentences on what is missing or damaged."""
    return join([element("p", each, class_="fault") for each in sentences])


def definitions(*pairs: tuple[str, Content]) -> Html:
    """Terms with what they are; those without content are left out."""
    return element("dl", [join(element("dt", term), element("dd", what)) for term, what in pairs if what])
