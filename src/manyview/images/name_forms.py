"""Finds files of a folder by names that differ from theirs in form only, as those of other systems and tools do."""

from __future__ import annotations

import difflib
import functools
import os
import posixpath
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from manyview.images.formats import extension, holds_copies
from manyview.images.sources.collection import Collection

_COMPARED = 2000  # names with which a missing one is compared at most
_ALIKE = 0.6  # similarity of names from which one is near another
_TOLD = 3  # missing names for which the nearest one is searched, as messages show no more

Exact = Callable[[str], list[str]]
"""Files that a normalized relative name stands for as it is written."""


def stem(name: str) -> str:
    """A name without its extension."""
    return posixpath.splitext(name)[0]


def leads_outside(name: str) -> bool:
    """Whether a relative name leads out of its folder, or to the folder itself."""
    plain = posixpath.normpath(name)
    return plain.startswith("/") or plain.split("/", 1)[0] in ("..", ".")


def is_there(file: Path) -> bool:
    """Whether there is something of this name that is no folder; also a link that leads nowhere."""
    try:
        mode = os.lstat(file).st_mode
        return not (file.is_dir() if stat.S_ISLNK(mode) else stat.S_ISDIR(mode))
    except (OSError, ValueError):  # the latter for names that no file can have
        return False


def holds(root: Path | Collection, name: str) -> bool:
    """Whether there is an image of this name in a folder, where it may also be any other file, or in shards."""
    return root.names.find(name) >= 0 if isinstance(root, Collection) else is_there(root / name)


class NameForms:
    """Finds files of a folder by names in several forms.

    A name is taken as it is written, relative to the folder. If no file has it, these forms are tried, each only if
    exactly one file fits: backslashes for slashes; a ``file:`` address; an absolute path into the folder; a name
    relative to the working directory or to the parent of the folder; another Unicode normalization, as macOS stores
    names decomposed; at last upper for lower case.

    Args:
        root: the folder, or shards.
        stems: whether names may lack their extension.
        endings: extensions of the files, in lower case; empty for all.
    """

    def __init__(self, root: Path | Collection, *, stems: bool = False, endings: frozenset[str] = frozenset()) -> None:
        self.root, self._stems, self._endings = root, stems, endings
        self._told = 0
        self._real = functools.cache(os.path.realpath)  # of folders, as each has many names

    def find(self, name: str, exact: Exact) -> list[str]:
        """Names of the files that fit: one if it is found, several if it is ambiguous, none if there is no such file.

        Args:
            name: as written.
            exact: returns the files of a normalized relative name.
        """
        plain = posixpath.normpath(name)
        found = [] if leads_outside(plain) else exact(plain)
        if found:
            return found
        forms = list(dict.fromkeys(self._forms(name)))
        for candidates in (
            (file for form in forms if form != plain for file in exact(form)),
            (file for form in forms for file in self._by_form.get(_composed(form), ())),
            (file for form in forms for file in self._by_folded_form.get(_folded(form), ())),
        ):
            distinct = list(dict.fromkeys(candidates))
            if distinct:
                return distinct
        return []

    def leads_outside(self, name: str) -> bool:
        """Whether a name leads out of the folder in every form, also as an absolute path."""
        return next(self._forms(name), None) is None

    def nearest(self, name: str) -> str:
        """The name most like a missing one, as the end of a sentence; empty if none is, and after the third one."""
        self._told += 1
        if self._told > _TOLD or not self._names:
            return ""
        written = name.replace("\\", "/")
        base = _folded(posixpath.basename(written))
        same = [each for each in self._names if base in (_folded(posixpath.basename(each)), _folded(stem(each)))]
        beside = [each for each in self._names if posixpath.dirname(each) == posixpath.dirname(written)]
        pool = (same or [*beside[:_COMPARED], *self._names])[:_COMPARED]
        names = {key: each for each in pool for key in _keys(each, stems=self._stems)}
        near = difflib.get_close_matches(written, names, n=1, cutoff=0 if same else _ALIKE)
        return f", the nearest name being {names[near[0]]}" if near else ""

    def _forms(self, name: str) -> Iterator[str]:
        """The relative names that a name may mean, within the folder."""
        texts = [name]
        if name.lower().startswith("file:"):
            texts.append(unquote(urlsplit(name).path))
        texts += [text.replace("\\", "/") for text in texts if "\\" in text]
        for text in texts:
            plain = posixpath.normpath(text)
            if not leads_outside(plain):
                yield plain
            yield from self._inside(text)

    def _inside(self, name: str) -> Iterator[str]:
        """Names, relative to the folder, of a path that leads into it from elsewhere."""
        roots, starts = self._roots_and_starts
        for start in starts if not name.startswith("/") else starts[:1]:
            path = os.path.normpath(os.path.join(start, name))  # noqa: PTH118 - of text that may be no path
            for each in (path, self._without_links(path)):
                for root in roots:
                    if each.startswith(root):
                        yield each[len(root) :]

    @functools.cached_property
    def _roots_and_starts(self) -> tuple[list[str], list[str]]:
        """Paths of the folder, with a slash at the end, and folders that names may be relative to."""
        if isinstance(self.root, Collection):
            return [f"{self.root}/"], [str(self.root)]
        roots = dict.fromkeys((os.path.abspath(self.root), os.path.realpath(self.root)))  # noqa: PTH100
        starts = dict.fromkeys((os.getcwd(), *roots, *map(os.path.dirname, roots)))  # noqa: PTH109
        return [root.rstrip("/") + "/" for root in roots], list(starts)

    def _without_links(self, path: str) -> str:
        """A path whose folder is given without links; as it is where no file can have such a name."""
        folder, base = os.path.split(path)
        try:
            return os.path.join(self._real(folder), base)  # noqa: PTH118
        except (OSError, ValueError):
            return path

    @functools.cached_property
    def _names(self) -> list[str]:
        """All files below the folder that are not hidden; of folders that may not be searched, none."""
        if isinstance(self.root, Collection):
            return [name for name in self.root.names if not self._endings or extension(name) in self._endings]
        found = []
        for parent, folders, files in os.walk(self.root, followlinks=False):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and not holds_copies(name))
            below = Path(parent).relative_to(self.root).as_posix()
            found += [
                posixpath.normpath(posixpath.join(below, name))
                for name in sorted(files)
                if not name.startswith(".") and (not self._endings or extension(name) in self._endings)
            ]
        return found

    @functools.cached_property
    def _by_form(self) -> dict[str, list[str]]:
        return self._index(_composed)

    @functools.cached_property
    def _by_folded_form(self) -> dict[str, list[str]]:
        return self._index(_folded)

    def _index(self, form: Callable[[str], str]) -> dict[str, list[str]]:
        index: dict[str, list[str]] = {}
        for name in self._names:
            for key in _keys(name, stems=self._stems):
                index.setdefault(form(key), []).append(name)
        return index


def _keys(name: str, *, stems: bool) -> Iterable[str]:
    return (name, stem(name)) if stems else (name,)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())
