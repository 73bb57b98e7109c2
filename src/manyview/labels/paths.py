"""Finds the label files of a folder, their lines, and the images that they name."""

from __future__ import annotations

import functools
import os
import posixpath
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from manyview.errors import UserError, first_few
from manyview.images.files import read_text
from manyview.images.formats import extension, extensions
from manyview.images.name_forms import NameForms, holds, stem
from manyview.images.sources.collection import Collection
from manyview.images.sources.root import ImageRoot
from manyview.images.sources.scan import is_folder
from manyview.labels.problems import AnyEntry, OfImage, Problem, in_quotes

_SHOWN = 40  # characters of a faulty line


def find_files(folder: Path, ending: str, *, recursive: bool = True) -> list[str]:
    """Names of a folder's files with an extension in upper or lower case, in the order of their bytes.

    Hidden files and folders are skipped, and links to folders are not followed.

    Args:
        folder: where to search.
        ending: the extension with the dot, in lower case.
        recursive: whether to search subfolders, too.

    Raises:
        UserError: a folder cannot be searched.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"cannot search the folder {error.filename} ({error.strerror}): permit reading it")

    names = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        below = Path(parent).relative_to(folder).as_posix()
        names += [
            posixpath.normpath(posixpath.join(below, name))
            for name in files
            if name.lower().endswith(ending) and not name.startswith(".")
        ]
    return sorted(names, key=os.fsencode)


def numbered_lines(file: Path, errors: str = "strict") -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, without white space around them, with their numbers from 1.

    Args:
        file: the file.
        errors: treatment of bytes that are not UTF-8, as in ``bytes.decode``.

    Raises:
        UserError: it cannot be read.
    """
    lines = enumerate(read_text(file, "labels", errors).split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def quoted(line: str) -> str:
    """A line quoted for a message, cut if it is long."""
    return in_quotes(line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "...")


class ImageNames:
    """The names of the images in a folder.

    Args:
        root: the folder, or shards.
        by_stem: whether label files name them without extension.
    """

    def __init__(self, root: ImageRoot, by_stem: bool) -> None:
        self.root, self.by_stem = root, by_stem
        self._listed = functools.cache(self._list)
        self._endings = extensions(arrays=True)
        self._forms = NameForms(root, stems=by_stem, endings=self._endings)

    def located(self, entries: Sequence[AnyEntry], problems: list[Problem]) -> list[AnyEntry]:
        """Entries with the names of their image files; for the others, problems are added."""
        found = []
        for entry in entries:
            name = self.find(entry)
            if isinstance(name, Problem):
                problems.append(name)
            else:
                found.append(replace(entry, image=name))
        return found

    def match(self, name: str) -> list[str]:
        """The images that a name stands for, as ``NameForms`` finds them: normalized relative names with extension."""
        return self._forms.find(name, self._exact)

    def find(self, entry: OfImage) -> str | Problem:
        """The image of an entry as a normalized relative name with extension, or the problem with it."""
        found = self.match(entry.image)
        if len(found) == 1:
            return found[0]
        name = posixpath.normpath(entry.image)
        if found:
            return Problem(
                f"{entry.where} may belong to any of {first_few(found)}",
                "remove all but one, or use a CSV file" if self.by_stem else "write the name of one of them",
            )
        nearest = self._forms.nearest(entry.image)
        if self._forms.leads_outside(entry.image):
            return Problem(
                f"{entry.where} names {entry.image}, which is outside of the folder of images{nearest}",
                f"names must be relative to {self.root}",
            )
        if self.by_stem:
            return Problem(
                f"{entry.where} has no image {name}.*{nearest}",
                f"images are looked for in {self.root} by their names without extension",
            )
        return Problem(
            f"{entry.where} names {entry.image}, which is missing{nearest}",
            f"names must be relative to {self.root}, with their extension",
        )

    def _exact(self, name: str) -> list[str]:
        """The images of a normalized relative name."""
        folder, base = posixpath.split(name)
        found = self._listed(folder).get(base, []) if self.by_stem else []
        if not found and (not self.by_stem or self._has_image_ending(base)) and holds(self.root, name):
            found = [base]
        return [posixpath.join(folder, each) for each in found]

    def _list(self, folder: str) -> dict[str, list[str]]:
        """The image files of one folder by their names without extension."""
        by_stem: dict[str, list[str]] = {}
        if isinstance(self.root, Collection):
            return self._in_shards.get(folder, by_stem)
        try:
            with os.scandir(self.root / folder) as listing:
                files = sorted(
                    entry.name for entry in listing if self._has_image_ending(entry.name) and not is_folder(entry)
                )
        except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for names that no file can have
            return by_stem
        except OSError as error:
            raise UserError(
                f"cannot search the folder {self.root / folder} ({error.strerror}): permit reading it"
            ) from error
        for file in files:
            by_stem.setdefault(stem(file), []).append(file)
        return by_stem

    @functools.cached_property
    def _in_shards(self) -> dict[str, dict[str, list[str]]]:
        """The images of shards by folder and name without extension."""
        assert isinstance(self.root, Collection), "of a folder, each is listed by itself"
        found: dict[str, dict[str, list[str]]] = {}
        for name in filter(self._has_image_ending, self.root.names):
            folder, base = posixpath.split(name)
            found.setdefault(folder, {}).setdefault(stem(base), []).append(base)
        return found

    def _has_image_ending(self, name: str) -> bool:
        return extension(name) in self._endings
