"""Search of a folder for image files, in the order of their names' bytes, without a list of strings."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from manyview.errors import UserError
from manyview.images.formats import extension, holds_copies, is_companion, starts_like_an_image
from manyview.images.sources.counting import Counting
from manyview.images.sources.names import Names, NamesBuilder


@dataclass(frozen=True, slots=True)
class Found:
    """What a search of a folder found.

    Attributes:
        names: images, relative to the folder, in the order of their bytes.
        folders: those that were searched, each with a slash at its end, in the same order; the first is "".
        stamps: time of the last change of each folder, in nanoseconds since 1970, and its inode.
        others: number of other files by extension.
    """

    names: Names
    folders: Names
    stamps: Int64[np.ndarray, "folders 2"]
    others: Counter[str]


class _SeenTwiceError(Exception):
    """A folder was met under a second path."""


def scan(root: Path, wanted: Set[str]) -> Found:
    """Search a folder and those below it for images.

    Of several paths to one folder, the first by its components is kept, whatever the order of the file system.

    Args:
        root: the folder.
        wanted: extensions of images, in lower case with their dot.

    Raises:
        UserError: a folder cannot be searched.
    """
    try:
        return _Search(root, wanted).run()
    except _SeenTwiceError:  # hardly ever: links among folders
        return _Search(root, wanted, set(_folders_once(root))).run()


def stamp(folder: Path) -> tuple[int, int]:
    """What differs after a file was added to a folder, removed from it, or renamed.

    Raises:
        OSError: it is not there any more.
    """
    status = os.stat(folder)  # noqa: PTH116 - of millions of folders
    return status.st_mtime_ns, status.st_ino


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; mostly known from the listing, without a look at the disk."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


class _Search:
    """One search; ``kept`` are the folders to search, where some have several paths."""

    def __init__(self, root: Path, wanted: Set[str], kept: Set[str] | None = None) -> None:
        self._root, self._wanted, self._kept = root, wanted, kept
        self._names, self._folders = NamesBuilder(), NamesBuilder()
        self._stamps: list[tuple[int, int]] = []
        self._seen: set[tuple[int, int]] = set()
        self._others: Counter[str] = Counter()
        self._counting = Counting("Searching for images: {count} files and folders")

    def run(self) -> Found:
        with self._counting:
            return self._run()

    def _run(self) -> Found:
        # Entries are sorted with a slash behind folders: that is the order of the bytes of whole names.
        open_folders = [self._entries("")]
        while open_folders:
            for name in open_folders[-1]:
                if name.endswith("/"):
                    open_folders.append(self._entries(name))
                    break
                self._names.add(os.fsencode(name))
            else:
                open_folders.pop()
        names, folders = (Names.of(*builder.arrays()) for builder in (self._names, self._folders))
        return Found(names, folders, np.array(self._stamps, np.int64).reshape(-1, 2), self._others)

    def _entries(self, folder: str) -> Iterator[str]:
        """Images and folders in a folder, which have a slash at their end, in order."""
        path = self._root / folder
        try:
            changed = stamp(path)  # before it is listed: what comes later is then noticed
            status = path.stat()
            if (status.st_dev, status.st_ino) in self._seen:
                raise _SeenTwiceError
            self._seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as listing:
                entries = [self._sortable(entry, folder) for entry in listing if not entry.name.startswith(".")]
        except OSError as error:
            raise _unsearched(path, error) from error
        self._folders.add(os.fsencode(folder))
        self._stamps.append(changed)
        entries = [entry for entry in entries if entry]
        entries.sort(key=os.fsencode)
        return (folder + entry for entry in entries)

    def _sortable(self, entry: os.DirEntry[str], folder: str) -> str:
        """Name of an entry to look at, with a slash behind a folder; empty for what is left out."""
        self._counting.add()
        name = entry.name
        ending = extension(name)
        if is_folder(entry):
            wanted = not holds_copies(name) and (self._kept is None or f"{folder}{name}/" in self._kept)
            return f"{name}/" if wanted else ""
        if ending in self._wanted or (not ending and starts_like_an_image(self._root / folder / name)):
            return name
        if ending and not is_companion(ending):
            self._others[ending] += 1
        return ""


def _folders_once(root: Path) -> Iterator[str]:
    """The folders to search, each real one by its first path, with a slash at their end."""
    seen: set[tuple[int, int]] = set()
    folders = [""]
    while folders:
        folder = folders.pop()
        path = root / folder
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as listing:
                below = [entry.name for entry in listing if not entry.name.startswith(".") and is_folder(entry)]
        except OSError as error:
            raise _unsearched(path, error) from error
        yield posixpath.join(folder, "") if folder else ""
        # A stack, so in reverse.
        below.sort(key=os.fsencode, reverse=True)
        folders += [posixpath.join(folder, name) for name in below if not holds_copies(name)]


def _unsearched(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot search the folder {folder} ({error.strerror}): permit reading it, or name the images to use in a list"
    )
