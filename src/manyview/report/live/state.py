"""What the live page shows, read anew when it is asked for and older than a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from manyview.errors import UserError
from manyview.report.page.curves import charts, to_data
from manyview.report.page.page import render, status_in_words, title_of
from manyview.report.page.reading.evaluations import digest
from manyview.report.page.report import all_sections
from manyview.report.page.sections.section import Material, Section
from manyview.text import printable

_FRESH_SECONDS = 1.0
# Made from the images, which do not change, and the only ones that take longer than a moment.
_PICTURES = frozenset({"views"})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The page at a time.

    Attributes:
        page: the whole HTML.
        data: of ``/data.json``.
        sections: inner HTML by key.
    """

    page: str
    data: Mapping[str, Any]
    sections: Mapping[str, str]


@dataclass
class LiveRun:
    """A run whose page is made again while it trains.

    Attributes:
        read: reads the run and its results.
        own: the command that writes the page to a file.
    """

    read: Callable[[], Material]
    own: str
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _made: float = 0.0
    _snapshot: Snapshot | None = None
    _pictures: dict[str, Section] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        """The page as it is now, at most a second old.

        While the folder cannot be read, as where it was moved, the page stays as it was and its state says so.
        """
        with self._lock:
            if self._snapshot is None or time.monotonic() - self._made > _FRESH_SECONDS:
                self._snapshot = self._make()
                self._made = time.monotonic()
            return self._snapshot

    def _make(self) -> Snapshot:
        try:
            material = self.read()
        except UserError as error:
            if self._snapshot is None:
                raise
            lost = {**self._snapshot.data, "state": "stale", "status": f"The run cannot be read: {error}"}
            return Snapshot(self._snapshot.page, lost, self._snapshot.sections)
        sections = [self._kept(section) for section in all_sections(material, self.own)]
        groups = charts(material.runs)
        data = to_data(material.runs, groups)
        state, sentence = status_in_words(material)
        inner = {section.key: str(section.inner) for section in sections}
        # Of the curves only what they are called matters: their points are in the data.
        names = [[run.name for run in material.runs], [[chart.key for chart in found] for _, found in groups]]
        data["sections"] = {key: digest(repr(names) if key == "curves" else text) for key, text in inner.items()}
        page = render(material, sections, data, "Kept up to date by manyview watch.", live=True)
        answer = {
            "title": f"{printable(title_of(material))} – manyview",
            "state": state,
            "status": sentence,
            "data": data,
        }
        return Snapshot(page, answer, inner)

    def _kept(self, section: Section) -> Section:
        """A section of pictures as it was made first, once it holds pictures."""
        if section.key not in _PICTURES:
            return section
        if "<img" in section.content and section.key not in self._pictures:
            self._pictures[section.key] = section
        return self._pictures.get(section.key, section)
