"""What the live page shows, read anew when it is asked for and older than a second."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manyview.errors import UserError
from manyview.report.page.curves import Group, charts, to_data
from manyview.report.page.markup import Html
from manyview.report.page.page import render, status_in_words, title_of
from manyview.report.page.report import all_sections
from manyview.report.page.sections.section import Material, Section
from manyview.text import printable

_FRESH_SECONDS = 1.0
# Sections of pictures, which take longer than a moment, and what they are made from besides the images.
_MADE_FROM: Mapping[str, Callable[[Material], Any]] = {
    "views": lambda material: [run.config for run in material.runs],
    "neighbors": lambda material: _results(material, "neighbours"),
    "detection": lambda material: _results(material, "detect"),
}


def _results(material: Material, verb: str) -> list[Any]:
    return [(found.file, found.content) for number in range(len(material.runs)) for found in material.of(number, verb)]


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
    _pictures: dict[str, tuple[Any, Html]] = field(default_factory=dict)

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
        except (UserError, OSError) as error:
            if self._snapshot is None:
                raise
            lost = {**self._snapshot.data, "state": "stale", "status": f"The run cannot be read: {error}"}
            return Snapshot(self._snapshot.page, lost, self._snapshot.sections)
        groups = charts(material.runs)
        sections = self._sections(material, groups)
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

    def _sections(self, material: Material, groups: Sequence[Group]) -> list[Section]:
        """The sections; those of pictures are made again only if what they are made from has changed."""
        made_from = {key: of(material) for key, of in _MADE_FROM.items()}
        kept = {key: content for key, (before, content) in self._pictures.items() if before == made_from[key]}
        sections = all_sections(material, groups, self.own, kept=kept)
        for section in sections:
            if section.key in made_from and "<img" in section.content:
                self._pictures[section.key] = made_from[section.key], section.content
        return sections


def digest(text: str) -> str:
    """A short fingerprint of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
