"""Places for results, claimed before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

from manyview.errors import UserError


def claim_folder(folder: Path, *names: str) -> None:
    """Make the folder for a result.

    Args:
        folder: new, or with other files in it.
        names: files that the result consists of.

    Raises:
        UserError: it already holds one of the files, or cannot be made or written.
    """
    for name in names:
        if (folder / name).exists():
            raise UserError(f"{folder} already holds a {name}: choose another folder")
    make_folder(folder)


def claim_files(out: Path, suffixes: tuple[str, ...], *beside: Path) -> None:
    """Make sure that files can be written, and make their folder.

    Args:
        out: the file that the user named.
        suffixes: what its name may end in.
        beside: other files in the same folder.

    Raises:
        UserError: the name ends in something else, one of the files exists, or the folder cannot be made or written.
    """
    if out.suffix.lower() not in suffixes:
        raise UserError(f"{out} must end in {' or '.join(suffixes)}: choose another name for the output")
    for file in (out, *beside):
        if os.path.lexists(file):
            what = "is a folder" if file.is_dir() else "already exists"
            raise UserError(f"{file} {what}: choose another name for the output")
    make_folder(out.parent)


def make_folder(folder: Path) -> None:
    """Make a folder that is to be written in, unless it is there.

    Raises:
        UserError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{folder} is a file: choose a folder for the output") from None
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write into {folder}: choose another folder")
