"""Places for results that are single files, claimed before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

from manyview.errors import UserError


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
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{out.parent} is a file: choose a folder for the output") from None
    except OSError as error:
        raise UserError(f"cannot make the folder {out.parent}: {error.strerror or error}") from error
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write into {out.parent}: choose another folder")
