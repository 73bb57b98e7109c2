"""Finding the images that a label file names."""

from __future__ import annotations

import functools
import os
import posixpath
from pathlib import Path

from manyview.errors import UserError
from manyview.images.files import ARRAY_EXTENSIONS, EXTENSIONS
from manyview.labels.entries import Entry
from manyview.labels.files import stem
from manyview.labels.problems import Problem


def leads_outside(name: str) -> bool:
    """Whether a relative name leads out of the folder to which it is relative, or to that folder itself."""
    plain = posixpath.normpath(name)
    return plain.startswith("/") or plain.split("/", 1)[0] in ("..", ".")


def _has_image_ending(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in EXTENSIONS | ARRAY_EXTENSIONS


class ImageNames:
    """The names of the images in a folder.

    Args:
        root: the folder.
        by_stem: whether label files name them without extension.
    """

    def __init__(self, root: Path, by_stem: bool) -> None:
        self.root, self.by_stem = root, by_stem
        self._listed = functools.cache(self._list)

    def find(self, entry: Entry) -> str | Problem:
        """The image of an entry: its name in plain relative form with extension, or why there is none."""
        name = posixpath.normpath(entry.image)
        if leads_outside(name):
            return Problem(
                f"{entry.where} names {entry.image}, which is outside of the folder of images",
                f"names must be relative to {self.root}",
            )
        folder, base = posixpath.split(name)
        found = self._listed(folder).get(base, []) if self.by_stem else []
        if not found and (not self.by_stem or _has_image_ending(base)) and os.path.lexists(self.root / name):
            found = [base]
        if len(found) == 1:
            return posixpath.join(folder, found[0])
        if found:
            return Problem(
                f"{entry.where} may belong to any of {', '.join(found)}", "remove all but one, or use a CSV file"
            )
        if self.by_stem:
            return Problem(
                f"{entry.where} has no image {name}.*",
                f"images are looked for in {self.root} by their names without extension",
            )
        return Problem(
            f"{entry.where} names {entry.image}, which is missing",
            f"names must be relative to {self.root}, with their extension",
        )

    def _list(self, folder: str) -> dict[str, list[str]]:
        """The image files of one folder by their names without extension."""
        by_stem: dict[str, list[str]] = {}
        try:
            files = sorted(path.name for path in (self.root / folder).iterdir())
        except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for names that no file can have
            return by_stem
        except OSError as error:
            raise UserError(
                f"cannot search the folder {self.root / folder} ({error.strerror}): permit reading it"
            ) from error
        for file in files:
            if _has_image_ending(file):
                by_stem.setdefault(stem(file), []).append(file)
        return by_stem
