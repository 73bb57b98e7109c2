"""Label files below a folder, and the lines of one."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from manyview.errors import UserError
from manyview.images.files import read_text

_SHOWN = 40  # characters of a faulty line


def find_files(folder: Path, ending: str, *, recursive: bool = True) -> list[str]:
    """Names of the files of a folder that end so, upper or lower case, in the order of their bytes.

    Hidden files and folders do not count, and links to folders are not followed.

    Args:
        folder: where to search.
        ending: with the dot, in lower case.
        recursive: whether to search its folders, too.

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


def stem(name: str) -> str:
    """A name without its ending."""
    return posixpath.splitext(name)[0]


def numbered_lines(file: Path, errors: str = "strict") -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, without white space around them, with their numbers from 1.

    Args:
        file: the file.
        errors: how bytes that are not UTF-8 are met, as in ``bytes.decode``.

    Raises:
        UserError: it cannot be read.
    """
    lines = enumerate(read_text(file, "labels", errors).split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def quoted(line: str) -> str:
    """A line as a message shows it, cut where it is long."""
    return repr(line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "...")
